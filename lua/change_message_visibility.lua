#!lua flags=allow-oom
--[[
Change when messages of a standard queue become visible again (ChangeMessageVisibility and its batch form). Any
receipt of a message works, also after its visibility timeout, as in SQS.

KEYS   1 meta     HASH    queue attributes
       2 store    HASH    member -> record
       3 inflight ZSET    member -> visible again (ms * 1000) + receives
       4 wakeups  LIST    wakeup token
       5 timer    STRING  who wakes somebody at the next due time
ARGV   1 now_us    "" = the server's clock
       2 total_ms  longest invisibility counted from the receive; 0 = no limit
       3... member, received_ms, visibility_ms per message
RETURN {status ...}: 1 changed, -2 no such message, -3 beyond total_ms
ERRORS QUEUE_NOT_FOUND
BOUND  2000 calls, 64 KiB
]]
return require("lib.idempotency").run(function()
  local clock = require("lib.clock")
  local wakeups = require("lib.wakeups")
  local message = require("lib.message")

  local meta, _, inflight = unpack(KEYS)
  local settings = redis.call("HGET", meta, "MessageRetentionPeriod")
  if not settings then
    return redis.error_reply("QUEUE_NOT_FOUND " .. meta)
  end
  local now_us = clock(ARGV[1])
  local now_ms, base = tonumber(string.sub(now_us, 1, 13)), string.sub(meta, 1, -5)
  local after_ms = require("lib.after")(now_us)
  local oldest = string.format("%.0f", now_ms - tonumber(settings) * 1000)
  local total = tonumber(ARGV[2])
  local reply, earliest = {}, nil

  for i = 3, #ARGV, 3 do
    local member, visibility = ARGV[i], tonumber(ARGV[i + 2])
    local due_ms = visibility > 0 and after_ms + visibility or now_ms
    local score = require("lib.find_in_flight")(base, member)
    local status = 1
    if not score or message.expired(member, oldest) then
      status = -2
    elseif total > 0 and now_ms + visibility > tonumber(ARGV[i + 1]) + total then
      status = -3
    else
      redis.call("ZADD", inflight, "XX", string.format("%.0f", due_ms) .. string.sub(score, -3), member)
      if not earliest or due_ms < earliest then
        earliest = due_ms
      end
    end
    reply[#reply + 1] = status
  end

  if earliest then
    if earliest <= now_ms then
      wakeups.wake(base)
    else
      wakeups.wake_for(base, now_ms, earliest)
    end
  end
  return reply
end)
