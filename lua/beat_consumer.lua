#!lua flags=allow-oom
--[[
A worker's heartbeat extends the messages that it has, and shows that it is alive and what it does. Without a
heartbeat its messages become visible by themselves. The reply has its command, and the messages that it has lost.

KEYS   1 meta        HASH  queue attributes
       2 inflight    ZSET  member -> visible again (ms * 1000) + receives (either kind of queue)
       3 heartbeats  ZSET  consumer -> until when it counts as alive (ms)
       4 consumers   HASH  consumer -> its description of itself, =CONSUMER -> what metrics need of it
       5 commands    HASH  consumer -> "drain" or "evict"
ALSO   again:NAME stats timeline_callers
ARGV   1 now_us       "" = the server's clock
       2 extension_ms what it holds stays invisible for this time from now, at least
       3 consumer     its name; "" = it is registered in another partition
       4 description  "" = it leaves; "=" = what it said last, and it holds nothing; else JSON, which begins with
                      {"counted":"FIELD=NUMBER ...","state":STATE,"waiters":NUMBER,"process":PROCESS
       5 life_ms      for how long it counts as alive; 0 = it leaves, with a last description
       6... member, receives of this delivery cycle per message that it holds
RETURN {order, n ...}: order "" | "drain" | "evict" (nothing was prolonged) | "?" (to "=": it is not known, or not any
       more); n = position, from 0, of a message above that it does not hold any more
ERRORS QUEUE_NOT_FOUND
BOUND  2200 calls, 256 KiB
]]
local meta, inflight, heartbeats, consumers, commands = unpack(KEYS)
local extension_ms, consumer, description, life_ms = tonumber(ARGV[2]), ARGV[3], ARGV[4], tonumber(ARGV[5])
local LAPSED_MS = 60000 -- a consumer that lapsed is listed for this time
local KEPT_MS = "86400000" -- after the last heartbeat
local MOST_CALLERS, CALLERS_KEPT_MS = 1000, "1209600000" -- two weeks
if description == "=" then -- it is idle, as at its last beat: as few commands as can be
  local _, now = require("lib.clock")(ARGV[1], true)
  if redis.call("ZADD", heartbeats, "XX", "CH", string.format("%d", now + life_ms), consumer) == 0 then
    return {"?"}
  end
  return {redis.call("HGET", commands, consumer) or ""}
end
local visibility, timeline = unpack(redis.call("HMGET", meta, "VisibilityTimeout", "Timeline"))
if not visibility then
  return redis.error_reply("QUEUE_NOT_FOUND " .. meta)
end
local score = require("lib.score")
local now_us, now = require("lib.clock")(ARGV[1], true)
local now_ms, base, is_fifo = tonumber(now), string.match(meta, ".*:"), string.find(meta, "%.fifo:meta$")
local reply = {""}

-- What a consumer counted, as fields of `stats`, and its state and waiters, from its description.
local function parse(text)
  local counted, state, waiters = string.match(text, '^{"counted":"([%w= ]*)","state":"(%l+)","waiters":(%d+)')
  local numbers = {}
  for field, n in string.gmatch(counted or "", "(%w+)=(%d+)") do
    numbers[field] = tonumber(n)
  end
  return numbers, state or "unknown", waiters or "0"
end

-- A consumer counts on from its start to its end: add to `stats` what came since its last description. One that is not
-- known here is new and has counted nothing, or was forgotten, and what it had counted is in `stats` already.
local function count(numbers, before)
  if before then
    before = parse(before)
    for field, n in pairs(numbers) do
      numbers[field] = math.max(n - (before[field] or 0), 0)
    end
    require("lib.counting").add(base, numbers)
  end
end

local gone, before
if consumer ~= "" then
  reply[1] = redis.call("HGET", commands, consumer) or ""
  local lapsed = string.format("%d", now_ms - LAPSED_MS)
  gone = redis.call("ZRANGEBYSCORE", heartbeats, "-inf", lapsed, "LIMIT", "0", "10")
  before = redis.call("HGET", consumers, consumer)
end

local until_ms = math.ceil(now_us / 1000) + extension_ms
for i = 6, #ARGV, 2 do
  local member = ARGV[i]
  local at
  if is_fifo then
    at = redis.call("ZSCORE", inflight, member)
  else
    at = require("lib.find_in_flight")(base, member)
  end
  if not at or score.receives(at) ~= tonumber(ARGV[i + 1]) then
    reply[#reply + 1] = (i - 6) / 2
  elseif reply[1] ~= "evict" then
    redis.call("ZADD", inflight, "XX", "GT", score.at(at, until_ms), member)
  end
end

if consumer ~= "" then
  local numbers, state, waiters = parse(description)
  if description ~= "" then
    count(numbers, before)
  end
  local leaves = description == "" or life_ms == 0
  if leaves then
    gone[#gone + 1] = consumer
  end
  if #gone > 0 then
    redis.call("ZREM", heartbeats, unpack(gone))
    redis.call("HDEL", commands, unpack(gone))
    for i = 1, #gone do
      gone[#gone + 1] = "=" .. gone[i]
    end
    redis.call("HDEL", consumers, unpack(gone))
  end
  if not leaves then
    redis.call("ZADD", heartbeats, string.format("%d", now_ms + life_ms), consumer)
    local brief = string.format('{"state":"%s","waiters":%s}', state, waiters)
    redis.call("HSET", consumers, consumer, description, "=" .. consumer, brief)
    local process = timeline and string.match(description, '^{[^}]-"process":"([%w_-]+)"')
    if process then -- whose name stands in steps of timelines
      local callers = base .. "timeline_callers"
      if redis.call("HSET", callers, process, consumer) == 1 and redis.call("HLEN", callers) > MOST_CALLERS then
        redis.call("DEL", callers)
      end
      redis.call("PEXPIRE", callers, CALLERS_KEPT_MS)
    end
    for _, key in ipairs({heartbeats, consumers}) do
      redis.call("PEXPIRE", key, KEPT_MS)
    end
  end
end
return reply
