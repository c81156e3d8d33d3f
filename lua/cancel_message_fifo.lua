#!lua flags=allow-oom
--[[
Take a waiting message out of a FIFO queue: cancel it, or give it another time at its place in the group. A message in
flight is left alone.

KEYS   1 meta      HASH    queue attributes
       2 available ZSET    group -> since when its head can be received
       3 inflight  ZSET    stamp group -> visible again + receives
       4 state     HASH    stamp -> N/first_ms/available_us[/B] (lib/fifo.lua)
       5 wakeups   LIST    wakeup token
       6 timer     STRING  who wakes somebody at the next due time
ARGV   1 now_us  "" = the server's clock
       2 stamp   16 digits
       3 due     "" = cancel; else when it becomes visible: "ms", or "+ms" from now; ">..." = move it, if it is
                 visible, to another queue (lib/move_one.lua)
       4... groups among which it is looked for
RETURN 1 done | 0 not found in these groups | {n} not found in the first n of them, the others come next | -1 in flight;
       of a move also -1 it is delayed, or the head of its group cannot be received | 2, -2, "no_source" or a name as in
       cancel_message.lua
ERRORS QUEUE_NOT_FOUND
BOUND  1500 calls, 4 MiB
]]
return require("lib.idempotency").run(function()
  local clock = require("lib.clock")
  local wakeups = require("lib.wakeups")
  local make_available = require("lib.make_available")
  local fifo = require("lib.fifo")
  local sorted = require("lib.sorted")

  local meta, available, inflight, states = unpack(KEYS)
  local stamp, due = ARGV[2], ARGV[3]
  if redis.call("HEXISTS", meta, "VisibilityTimeout") == 0 then
    return redis.error_reply("QUEUE_NOT_FOUND " .. meta)
  end
  local now_us = clock(ARGV[1])
  local now = string.sub(now_us, 1, 13)
  local now_ms = tonumber(now)
  local base = string.sub(meta, 1, -5)
  local largest = redis.call("HGET", meta, "large")
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
  local score = redis.call("ZSCORE", inflight, member)
  if score then
    if string.sub(score, 1, -4) > now then
      return -1
    end
    fifo.expire(base, member, now_ms)
  end

  -- Is a message of the group in flight or delayed?
  local function is_hidden(other)
    local of_group = string.sub(other, 1, 16) .. group
    local at = redis.call("ZSCORE", inflight, of_group)
    if at and string.sub(at, 1, -4) > now then
      return true
    end
    at = redis.call("ZSCORE", base .. "delayed", of_group)
    if at and tonumber(at) > now_ms then
      return true
    end
    at = redis.call("ZSCORE", base .. "postponed", of_group)
    return at and tonumber(at) + 1000 * tonumber(redis.call("HGET", meta, "DelaySeconds") or "0") > now_ms
  end

  local chosen = string.sub(due, 1, 1) == ">" and require("lib.move_one")(meta, true, now_us, due)
  local removes, key, record, state = due == "" or chosen, nil, nil, nil
  if chosen then
    local pair = redis.call("LRANGE", list, string.format("%d", 2 * index), string.format("%d", 2 * index + 1))
    key, record, state = pair[1], pair[2], redis.call("HGET", states, stamp)
    if is_hidden(redis.call("LINDEX", list, "0")) or is_hidden(key) then
      return -1
    end
    local _, _, _, source = require("lib.fifo_key").earlier_receives(key)
    local refusal = chosen.refusal(source or "", group)
    if refusal then
      return refusal
    end
  end
  redis.call("ZREM", base .. "delayed", member)
  redis.call("ZREM", base .. "postponed", member)
  if removes then
    fifo.remove_at(list, index)
    redis.call("HDEL", states, stamp)
    redis.call("HINCRBY", meta, "messages", -1)
  else
    local key = redis.call("LINDEX", list, 2 * index)
    local history = string.match(key, "/.*$") or ""
    local due_ms, new = require("lib.due")(due, now_us), stamp .. history
    if due_ms > now_ms then
      new = stamp .. "+" .. string.format("%.0f", due_ms) .. history
    end
    redis.call("LSET", list, 2 * index, new)
    local state = redis.call("HGET", states, stamp)
    if state then -- its turn comes when it can be received
      local n, first, since, b = fifo.parse(state)
      since = n == b and fifo.since(new) or due_ms > now_ms and string.format("%.0f", due_ms * 1000) or since
      redis.call("HSET", states, stamp, fifo.state(n, first, since, b))
    end
    if due_ms > now_ms then
      redis.call("ZADD", base .. "delayed", string.format("%.0f", due_ms), member)
      redis.call("HSET", meta, "delays", "1")
      wakeups.wake_for(base, now_ms, due_ms)
    end
  end
  if index == 0 then
    local turn = removes and (redis.call("ZSCORE", available, group) or now_us)
    redis.call("ZREM", available, group)
    if make_available(base, group, turn) then
      wakeups.wake(base)
    end
  end
  if chosen then
    if state then
      require("lib.moved").mark(base, now_ms, {stamp})
    end
    return chosen.go(key, group, record, "~" .. (state or ""))
  end
  return 1
end)
