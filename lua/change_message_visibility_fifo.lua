#!lua flags=allow-oom
--[[
Change when messages of a FIFO queue become visible again (ChangeMessageVisibility and its batch form). The receipt
must be of the latest receive and its visibility timeout open.

KEYS   1 meta      HASH    queue attributes
       2 available ZSET    group -> since when its head can be received
       3 inflight  ZSET    stamp group -> visible again (ms * 1000) + receives
       4 state     HASH    stamp -> N/first_ms/available_us[/B] (lib/fifo.lua)
       5 wakeups   LIST    wakeup token
       6 timer     STRING  who wakes somebody at the next due time
ARGV   1 now_us    "" = the server's clock
       2 total_ms  longest invisibility counted from the receive; 0 = no limit
       3... key, group, receives, received_ms, visibility_ms per message
RETURN {status ...}: 1 changed, -1 the receipt has expired, -2 no such message, -3 beyond total_ms
ERRORS QUEUE_NOT_FOUND
BOUND  1500 calls, 64 KiB
]]
return require("lib.idempotency").run(function()
  local clock = require("lib.clock")
  local wakeups = require("lib.wakeups")
  local fifo = require("lib.fifo")

  local meta, _, inflight, states = unpack(KEYS)
  if redis.call("EXISTS", meta) == 0 then
    return redis.error_reply("QUEUE_NOT_FOUND " .. meta)
  end
  local now_us = clock(ARGV[1])
  local now_ms = tonumber(string.sub(now_us, 1, 13))
  local total = tonumber(ARGV[2])
  local base = string.sub(meta, 1, -5)
  local reply, earliest, visible = {}, nil, false

  for i = 3, #ARGV, 5 do
    local stamp, group, receives = string.sub(ARGV[i], 1, 16), ARGV[i + 1], tonumber(ARGV[i + 2])
    local member, span = stamp .. group, tonumber(ARGV[i + 4])
    local due_ms = span > 0 and math.ceil(now_us / 1000) + span or now_ms -- late, but never early
    local score = redis.call("ZSCORE", inflight, member)
    local status = 1
    if not score then
      status = redis.call("HEXISTS", states, stamp) == 1 and -1 or -2
    elseif tonumber(string.sub(score, -3)) ~= math.min(receives, 999)
      or (receives >= 999 and string.match(redis.call("HGET", states, stamp) or "", "^%d+") ~= ARGV[i + 2])
      or tonumber(string.sub(score, 1, -4)) <= now_ms then
      status = -1
    elseif total > 0 and now_ms + span > tonumber(ARGV[i + 3]) + total then
      status = -3
    elseif due_ms <= now_ms then
      visible = fifo.expire(base, member, now_ms) or visible
    else
      redis.call("ZADD", inflight, "XX", string.format("%.0f", due_ms) .. string.sub(score, -3), member)
      if not earliest or due_ms < earliest then
        earliest = due_ms
      end
    end
    reply[#reply + 1] = status
  end

  if visible then
    wakeups.wake(base)
  elseif earliest then
    wakeups.wake_for(base, now_ms, earliest)
  end
  return reply
end)
