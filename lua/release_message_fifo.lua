#!lua flags=allow-oom
--[[
What a worker says of messages of a FIFO queue that it did not finish. While a failed message waits for its next try
its group stands still, so that the order holds. A receive counts as the last one until there is another, also after its
visibility timeout.

KEYS   1 meta      HASH    queue attributes
       2 available ZSET    group -> since when its head can be received
       3 inflight  ZSET    stamp group -> visible again (ms * 1000) + receives
       4 state     HASH    stamp -> N/first_ms/available_us[/B] (lib/fifo.lua)
       5 wakeups   LIST    wakeup token
       6 timer     STRING  who wakes somebody at the next due time
ARGV   1 now_us  "" = the server's clock
       2... key, group, receives, then as in release_message.lua from the outcome on, per message
RETURN as release_message.lua
ERRORS QUEUE_NOT_FOUND
BOUND  2500 calls, 4 MiB
]]
return require("lib.idempotency").run(function()
  local wakeups = require("lib.wakeups")
  local fifo = require("lib.fifo")
  local make_available = require("lib.make_available")

  local meta, available, inflight, states = unpack(KEYS)
  if redis.call("EXISTS", meta) == 0 then
    return redis.error_reply("QUEUE_NOT_FOUND " .. meta)
  end
  local now_us = require("lib.clock")(ARGV[1])
  local now_ms = tonumber(string.sub(now_us, 1, 13))
  local base = string.sub(meta, 1, -5)
  local reply, missing_dlq, earliest, visible = {}, "", nil, false
  local dlq, retry -- read when the first message has failed

  for i = 2, #ARGV, 10 do
    local key, group, receives, outcome, cause = ARGV[i], ARGV[i + 1], tonumber(ARGV[i + 2]), ARGV[i + 3], ARGV[i + 4]
    local stamp, list = string.sub(key, 1, 16), fifo.list(base, group)
    local member = stamp .. group
    local state = redis.call("HGET", states, stamp)
    local position = state and redis.call("LPOS", list, key) -- none if it was given another time since
    local status
    if not position then
      status = -2
    elseif string.match(state, "^%d+") ~= ARGV[i + 2] then
      status = -1
    elseif outcome == "requeue" then
      local n, first, _, b = fifo.parse(state)
      n, b = n + 1, b + 2
      if n == b then
        redis.call("HSET", states, stamp, fifo.state(n, "0", fifo.since(key), b))
      else
        redis.call("HSET", states, stamp, fifo.state(n, first, now_us, b))
      end
      redis.call("ZREM", inflight, member)
      status = 0
    else
      dlq = dlq or require("lib.deadletter").policy(meta) or {}
      retry = retry or require("lib.retry")(meta)
      local delay, cap = retry(ARGV[i + 9], tonumber(ARGV[i + 6]), ARGV[i + 7], tonumber(ARGV[i + 8]))
      if outcome == "dead-letter" then
        delay = nil
      end
      local record = redis.call("LINDEX", list, position + 1)
      if cause ~= "" then
        record = string.sub(record, 1, ARGV[i + 5]) .. cause
      end
      local counted, first = fifo.shown(state)
      local last = dlq.name and (not delay or counted >= dlq.max_receives)
      if last and not dlq.missing then
        fifo.remove_at(list, position / 2)
        redis.call("HDEL", states, stamp)
        redis.call("ZREM", inflight, member)
        redis.call("HINCRBY", meta, "messages", -1)
        require("lib.deadletter").push_fifo(meta, dlq, group, {
          {key = key, first = first, receives = counted, record = record},
        }, now_us)
        status = -3
      elseif last and not dlq.suspended(now_ms) then
        status, missing_dlq = -4, dlq.name
      else
        status = delay or cap
        redis.call("LSET", list, position + 1, record)
        require("lib.large").note(meta, #record)
        if status == 0 then
          fifo.expire(base, member, now_ms)
        else
          local until_ms = math.ceil(now_us / 1000) + status
          redis.call("ZADD", inflight, string.format("%.0f%03d", until_ms, math.min(receives, 999)), member)
        end
      end
    end
    if status >= 0 or status == -3 then
      if make_available(base, group, status == -3 and now_us or nil) then
        visible = true
      else -- its head may have been visible
        redis.call("ZREM", available, group)
      end
    end
    if status > 0 and (not earliest or status < earliest) then
      earliest = status
    end
    reply[#reply + 1] = status
  end

  if visible then
    wakeups.wake(base)
  elseif earliest then
    wakeups.wake_for(base, now_ms, math.ceil(now_us / 1000) + earliest)
  end
  reply[#reply + 1] = missing_dlq
  return reply
end)
