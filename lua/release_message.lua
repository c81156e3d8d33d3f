#!lua flags=allow-oom
--[[
A worker releases messages of a standard queue that it did not finish: it did not begin them, or they failed. A
failed message gets its cause behind its record, and becomes visible again after the delay of the queue's retry policy.
At its last failure, or if it shall not be tried again, it goes to the dead-letter queue at once.

KEYS   1 meta     HASH    queue attributes
       2 store    HASH    member -> record
       3 inflight ZSET    member -> visible again (ms * 1000) + receives
       4 wakeups  LIST    wakeup token
       5 timer    STRING  who wakes a waiter at the next due time
ALSO   ready group:NAME again:NAME fair_ring paused moved backup wake:WAITER stats timeline; of another queue: meta
       ready fair_ring paused wakeups stats timeline
ARGV   1 now_us  "" = the server's clock
       2... member, receives of this delivery cycle ("+" behind them: this one does not count yet, though it is not the
            first one), outcome, cause, size of the record as it was sent, failures, wanted, chance, kinds per message.
            outcome: "requeue" = not begun: visible at once, the receive does not count; "return" = the same of a
            suspect (lib/ahead.lua), which stays one; "retry"; "dead-letter" = not to be tried again. cause "" = the
            record stays as it is. The last four are those of lib/retry.lua
RETURN {status ..., missing_dlq}: >= 0 visible again in this many ms, -1 another receive has it, -2 no such message, -3
       it went to the dead-letter queue, -4 nothing was done: the dead-letter queue missing_dlq has no shard here
ERRORS QUEUE_NOT_FOUND, QUEUE_DAMAGED
BOUND  2500 calls, 4 MiB
]]
return require("lib.idempotency").run(function()
  local counting = require("lib.counting")
  local message = require("lib.message")
  local score = require("lib.score")

  local meta, store, inflight = unpack(KEYS)
  if redis.call("EXISTS", meta) == 0 then
    return redis.error_reply("QUEUE_NOT_FOUND " .. meta)
  end
  local now_us, now = require("lib.clock")(ARGV[1], true)
  local now_ms, base = tonumber(now), string.match(meta, ".*:")
  local kind, moves = {names = 2}, {}

  function kind.find(i)
    local member, text, more = ARGV[i], string.match(ARGV[i + 1], "^(%d+)(%+?)$")
    local receives = tonumber(text)
    local is_marked = string.byte(member) == 126 -- lib/timeline.lua
    if is_marked then
      member = string.sub(member, 2)
    end
    local at = require("lib.find_in_flight")(base, member)
    if not at then
      return nil, -2
    elseif score.receives(at) ~= receives then
      return nil, -1
    end
    receives = math.max(receives + #more, 1) -- one that did not count yet (lib/ahead.lua) counts now, if it failed
    local counted = receives + message.parse(member).count
    return {member = member, receives = receives, counted = counted, is_marked = is_marked}
  end

  function kind.requeue(m, is_suspect)
    if m.receives == 1 and not is_suspect then
      require("lib.requeue")(base, m.member)
    else
      redis.call("ZADD", inflight, score.of(now_ms, m.receives - 1), m.member)
    end
  end

  function kind.record(m)
    local record = redis.call("HGET", store, m.member)
    if not record then
      redis.call("ZREM", inflight, m.member)
      counting.add(base, {damaged_r = 1})
    end
    return record
  end

  function kind.retry(m, record, delay_ms)
    redis.call("HSET", store, m.member, record)
    local visible_ms = delay_ms > 0 and math.ceil(now_us / 1000) + delay_ms or now_ms
    redis.call("ZADD", inflight, score.of(visible_ms, m.receives), m.member)
  end

  function kind.dead_letter(m, record)
    moves[#moves + 1], moves[#moves + 2], moves[#moves + 3] = m.member, m.receives, record
    redis.call("HDEL", store, m.member)
    redis.call("ZREM", inflight, m.member)
  end

  function kind.is_visible(_, status)
    return status == 0
  end

  local reply = require("lib.release")(base, now_us, kind)
  if #moves > 0 then
    require("lib.deadletter").move(base, moves, now_ms, true)
    counting.add(base, {dead_r = #moves / 3})
  end
  return reply
end)
