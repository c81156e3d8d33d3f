#!lua flags=allow-oom
--[[
Take a waiting message out of a FIFO queue: cancel it, or give it another time at its place in the group. A message in
flight is left alone.

KEYS   1 meta      HASH    queue attributes
       2 available ZSET    group -> since when its head can be received
       3 inflight  ZSET    stamp group -> visible again + receives
       4 state     HASH    stamp -> N/first_ms/available_us[/B] (lib/fifo.lua)
       5 wakeups   LIST    wakeup token
       6 timer     STRING  who wakes a waiter at the next due time
ALSO   group:NAME delayed postponed paused backup wake:WAITER moved outbox stats timeline; of another queue: meta
       group:NAME available inflight state delayed postponed paused wakeups stats timeline
ARGV   1 now_us  "" = the server's clock
       2 stamp   16 digits
       3 due     "" = cancel; "-" = delete, which counts as its receipt would; else when it becomes visible: "ms", or
                 "+ms" from now; ">..." = move it, if it is visible, to another queue (lib/move_one.lua)
       4... groups among which it is looked for
RETURN 1 done | 0 not found in these groups | {n} not found in the first n of them, the others come next | -1 in flight;
       of a move also -1 it is delayed, or the head of its group cannot be received | 2, -2, "no_source" or a name as in
       cancel_message.lua
ERRORS QUEUE_NOT_FOUND, QUEUE_DAMAGED
BOUND  1500 calls, 4 MiB
]]
return require("lib.idempotency").run(function()
  local make_available = require("lib.make_available")
  local fifo_key = require("lib.fifo_key")
  local wakeups = require("lib.wakeups")
  local sorted = require("lib.sorted")
  local score = require("lib.score")
  local fifo = require("lib.fifo")

  local meta, available, inflight, states = unpack(KEYS)
  local stamp, due = ARGV[2], ARGV[3]
  local visibility, delay, largest, has_timeline =
    unpack(redis.call("HMGET", meta, "VisibilityTimeout", "DelaySeconds", "large", "Timeline"))
  if not visibility then
    return redis.error_reply("QUEUE_NOT_FOUND " .. meta)
  end
  local now_us, now = require("lib.clock")(ARGV[1], true)
  local now_ms, base = tonumber(now), string.match(meta, ".*:")
  local damaged = require("lib.damaged").keys(base)
  if damaged then
    return damaged
  end
  local group, list, index
  for i = 4, #ARGV do
    group, list = ARGV[i], fifo.list(base, ARGV[i])
    index = sorted.find(list, stamp) or sorted.search(list, stamp, largest)
    if index then
      break
    elseif sorted.is_spent() then
      return {math.max(i - 4, 1)}
    end
  end
  if not index then
    return 0
  end
  local member = stamp .. group
  local at = redis.call("ZSCORE", inflight, member)
  if at then
    if score.time(at) > now then
      return -1
    end
    fifo.expire(base, member, now_ms)
  end

  local key = redis.call("LINDEX", list, string.format("%d", 2 * index))
  local state = redis.call("HGET", states, stamp)
  local move = string.sub(due, 1, 1) == ">" and require("lib.move_one")(base, true, now_us, due)
  local is_deleted = due == "-"
  local leaves, record = due == "" or is_deleted or move, nil
  if move then
    record = redis.call("LINDEX", list, string.format("%d", 2 * index + 1))
    for _, other in ipairs({redis.call("LINDEX", list, "0"), key}) do
      local place = fifo.place(base, other, fifo_key.stamp(other) .. group, now_ms, (delay or 0) * 1000)
      if place ~= "visible" then
        return -1
      end
    end
    local _, _, _, source = fifo_key.earlier_receives(key)
    local refused = move.refusal(source or "", group)
    if refused then
      return refused
    end
  end
  local removed = redis.call("ZREM", base .. "delayed", member) + redis.call("ZREM", base .. "postponed", member)
  local was_delayed = removed > 0
  local function record_step(kind, value)
    if has_timeline and not move then
      local timeline = require("lib.timeline")
      timeline.add(base, kind, stamp, value)
      timeline.write(now_ms)
    end
  end
  if leaves then
    fifo.remove_at(list, index)
    redis.call("HDEL", states, stamp)
    redis.call("HINCRBY", meta, "messages", -1)
    local field = (move and "moved" or "cancelled") .. (state and "_r" or "_u")
    record_step(is_deleted and "k" or "c", "")
    require("lib.counting").add(base, is_deleted and {crossed = state and 0 or 1} or {[field] = 1})
  else
    local due_ms = math.max(require("lib.due").time(due, 0, now_us), now_ms)
    local is_later = due_ms > now_ms
    record_step("t", due_ms)
    local is_given = is_later or was_delayed -- else it is visible, as before
    local new_key = is_given and fifo_key.with_due(key, due_ms) or key
    redis.call("LSET", list, 2 * index, new_key)
    if state then -- its turn comes when it can be received
      local n, first, since, b = fifo.parse(state)
      since = n == b and fifo_key.available_us(new_key) or is_given and string.format("%d", due_ms * 1000) or since
      redis.call("HSET", states, stamp, fifo.state(n, first, since, b))
    end
    if is_later then
      redis.call("ZADD", base .. "delayed", string.format("%d", due_ms), member)
      if redis.call("HSET", meta, "delays", "1") == 1 then
        require("lib.settings").mark(base)
      end
      wakeups.wake_for(base, now_ms, due_ms)
    end
  end
  if index == 0 then
    local turn = leaves and (redis.call("ZSCORE", available, group) or now_us)
    redis.call("ZREM", available, group)
    if make_available(base, group, turn) then
      wakeups.wake(base)
    end
  end
  if move then
    if state then
      require("lib.moved").mark(base, now_ms, {stamp})
    end
    return move.go(key, group, record, "~" .. (state or ""))
  end
  return 1
end)
