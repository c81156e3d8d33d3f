#!lua flags=allow-oom
--[[
What a worker says of messages of a standard queue that it did not finish: it did not begin them, or they failed. A
failed message gets its cause behind its record, and becomes visible again when the queue's retry policy says so; at its
last failure, or if it shall not be tried again, it goes to the dead-letter queue at once.

KEYS   1 meta     HASH    queue attributes
       2 store    HASH    member -> record
       3 inflight ZSET    member -> visible again (ms * 1000) + receives
       4 wakeups  LIST    wakeup token
       5 timer    STRING  who wakes somebody at the next due time
ARGV   1 now_us  "" = the server's clock
       2... member, receives of this stay, outcome, cause, size of the record as it was sent, failures, wanted, chance,
            kinds per message. outcome: "requeue" = not begun: visible at once, the receive does not count; "retry";
            "dead-letter" = not to be tried again. cause "" = the record stays as it is. The last four are those of
            lib/retry.lua
RETURN {status ..., missing_dlq}: >= 0 visible again in so many ms, -1 another receive has it, -2 no such message, -3 it
       went to the dead-letter queue, -4 nothing was done: the dead-letter queue missing_dlq has no shard here
ERRORS QUEUE_NOT_FOUND
BOUND  2500 calls, 4 MiB
]]
return require("lib.idempotency").run(function()
  local wakeups = require("lib.wakeups")
  local message = require("lib.message")

  local meta, store, inflight = unpack(KEYS)
  if redis.call("EXISTS", meta) == 0 then
    return redis.error_reply("QUEUE_NOT_FOUND " .. meta)
  end
  local now_us = require("lib.clock")(ARGV[1])
  local now_ms, base = tonumber(string.sub(now_us, 1, 13)), string.sub(meta, 1, -5)
  local after_ms = require("lib.after")(now_us)
  local reply, missing_dlq, earliest, visible = {}, "", nil, false
  local dlq, retry -- read when the first message has failed
  local moves = {}

  for i = 2, #ARGV, 9 do
    local member, receives, outcome, cause = ARGV[i], ARGV[i + 1], ARGV[i + 2], ARGV[i + 3]
    local score = require("lib.find_in_flight")(base, member)
    local record = score and outcome ~= "requeue" and redis.call("HGET", store, member)
    local status
    if not score then
      status = -2
    elseif tonumber(string.sub(score, -3)) ~= tonumber(receives) then
      status = -1
    elseif outcome == "requeue" then
      if tonumber(receives) == 1 then
        require("lib.requeue")(base, member)
      else
        redis.call("ZADD", inflight, string.format("%.0f%03d", now_ms, receives - 1), member)
      end
      status = 0
    elseif not record then -- damaged: nothing to hand out
      redis.call("ZREM", inflight, member)
      status = -2
    else
      dlq = dlq or require("lib.deadletter").policy(meta) or {}
      retry = retry or require("lib.retry")(meta)
      local delay, cap = retry(ARGV[i + 8], tonumber(ARGV[i + 5]), ARGV[i + 6], tonumber(ARGV[i + 7]))
      if outcome == "dead-letter" then
        delay = nil
      end
      if cause ~= "" then
        record = string.sub(record, 1, ARGV[i + 4]) .. cause
      end
      local last = dlq.name and (not delay or receives + message.parse(member).count >= dlq.max_receives)
      if last and not dlq.missing then
        moves[#moves + 1], moves[#moves + 2], moves[#moves + 3] = member, receives, record
        redis.call("HDEL", store, member)
        redis.call("ZREM", inflight, member)
        status = -3
      elseif last and not dlq.suspended(now_ms) then
        status, missing_dlq = -4, dlq.name
      else
        status = delay or cap
        redis.call("HSET", store, member, record)
        require("lib.large").note(meta, #record)
        local due_ms = status > 0 and after_ms + status or now_ms
        redis.call("ZADD", inflight, string.format("%.0f", due_ms) .. string.sub(score, -3), member)
      end
    end
    if status == 0 then
      visible = true
    elseif status > 0 and (not earliest or status < earliest) then
      earliest = status
    end
    reply[#reply + 1] = status
  end

  if #moves > 0 then
    require("lib.deadletter").move(meta, moves, now_ms)
  end
  if visible then
    wakeups.wake(base)
  elseif earliest then
    wakeups.wake_for(base, now_ms, after_ms + earliest)
  end
  reply[#reply + 1] = missing_dlq
  return reply
end)
