#!lua flags=allow-oom
--[[
A worker's heartbeat extends the messages that it has, and shows everybody that it is alive and what it does. Without a
heartbeat its messages become visible by themselves. The reply has its command, and the messages that it has lost.

KEYS   1 meta        HASH  queue attributes
       2 inflight    ZSET  member -> visible again (ms * 1000) + receives (either kind of queue)
       3 heartbeats  ZSET  consumer -> until when it counts as alive (ms)
       4 consumers   HASH  consumer -> its description of itself
       5 commands    HASH  consumer -> "drain" or "evict"
ARGV   1 now_us       "" = the server's clock
       2 lease_ms     what it holds stays invisible so long from now, at least
       3 consumer     its name; "" = it is registered in another partition
       4 description  "" = it leaves; "=" = what it said last, and it holds nothing
       5 life_ms      so long it counts as alive
       6... member, receives of this stay per message that it holds
RETURN {order, n ...}: order "" | "drain" | "evict" (nothing was prolonged) | "?" (to "=": it is not known, or not any
       more); n = position, from 0, of a message above that it does not hold any more
ERRORS QUEUE_NOT_FOUND
BOUND  2100 calls, 256 KiB
]]
local meta, inflight, heartbeats, consumers, commands = unpack(KEYS)
if ARGV[4] == "=" then -- it is idle, as at its last beat: as few commands as can be
  local until_ms = string.sub(require("lib.clock")(ARGV[1]), 1, 13) + tonumber(ARGV[5])
  if redis.call("ZADD", heartbeats, "XX", "CH", string.format("%.0f", until_ms), ARGV[3]) == 0 then
    return {"?"}
  end
  return {redis.call("HGET", commands, ARGV[3]) or ""}
end
if redis.call("HEXISTS", meta, "VisibilityTimeout") == 0 then
  return redis.error_reply("QUEUE_NOT_FOUND " .. meta)
end
local now_us = require("lib.clock")(ARGV[1])
local now_ms = tonumber(string.sub(now_us, 1, 13))
local base, is_fifo = string.sub(meta, 1, -5), string.find(meta, "%.fifo:meta$")
local consumer = ARGV[3]
local reply = {""}

if consumer ~= "" then
  reply[1] = redis.call("HGET", commands, consumer) or ""
  local lapsed_ms = string.format("%.0f", now_ms - 60000)
  local gone = redis.call("ZRANGEBYSCORE", heartbeats, "-inf", lapsed_ms, "LIMIT", "0", "10")
  if ARGV[4] == "" then
    gone[#gone + 1] = consumer
  end
  if #gone > 0 then
    redis.call("ZREM", heartbeats, unpack(gone))
    redis.call("HDEL", consumers, unpack(gone))
    redis.call("HDEL", commands, unpack(gone))
  end
  if ARGV[4] ~= "" then
    redis.call("ZADD", heartbeats, string.format("%.0f", now_ms + tonumber(ARGV[5])), consumer)
    redis.call("HSET", consumers, consumer, ARGV[4])
    for _, key in ipairs({heartbeats, consumers}) do -- after the last worker nothing stays
      redis.call("PEXPIRE", key, "86400000")
    end
  end
end

local until_ms = string.format("%.0f", require("lib.after")(now_us) + tonumber(ARGV[2]))
for i = 6, #ARGV, 2 do
  local score = is_fifo and redis.call("ZSCORE", inflight, ARGV[i]) or not is_fifo and require("lib.find_in_flight")(base, ARGV[i])
  if not score or tonumber(string.sub(score, -3)) ~= tonumber(ARGV[i + 1]) then
    reply[#reply + 1] = (i - 6) / 2
  elseif reply[1] ~= "evict" then
    redis.call("ZADD", inflight, "XX", "GT", until_ms .. string.sub(score, -3), ARGV[i])
  end
end
return reply
