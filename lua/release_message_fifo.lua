#!lua flags=allow-oom
--[[
A worker releases messages of a FIFO queue that it did not finish. While a failed message waits for its next try
its group stands still, so that the order holds. A receive counts as the last one until there is another, also after its
visibility timeout.

KEYS   1 meta      HASH    queue attributes
       2 available ZSET    group -> since when its head can be received
       3 inflight  ZSET    stamp group -> visible again (ms * 1000) + receives
       4 state     HASH    stamp -> N/first_ms/available_us[/B] (lib/fifo.lua)
       5 wakeups   LIST    wakeup token
       6 timer     STRING  who wakes a waiter at the next due time
ALSO   group:NAME delayed postponed paused moved backup wake:WAITER stats timeline; of another queue: meta group:NAME
       available paused wakeups stats timeline
ARGV   1 now_us  "" = the server's clock
       2... key, group, receives, then as in release_message.lua from the outcome on, per message
RETURN as release_message.lua
ERRORS QUEUE_NOT_FOUND, QUEUE_DAMAGED
BOUND  2500 calls, 4 MiB
]]
return require("lib.idempotency").run(function()
  local fifo_key = require("lib.fifo_key")
  local score = require("lib.score")
  local fifo = require("lib.fifo")

  local meta, available, inflight, states = unpack(KEYS)
  if redis.call("EXISTS", meta) == 0 then
    return redis.error_reply("QUEUE_NOT_FOUND " .. meta)
  end
  local now_us, now = require("lib.clock")(ARGV[1], true)
  local now_ms, base = tonumber(now), string.match(meta, ".*:")
  local kind = {names = 3, is_fifo = true}

  function kind.find(i)
    local key, group = ARGV[i], ARGV[i + 1]
    local is_marked = string.byte(key) == 126 -- lib/timeline.lua
    if is_marked then
      key = string.sub(key, 2)
    end
    local stamp, list = fifo_key.stamp(key), fifo.list(base, group)
    local state = redis.call("HGET", states, stamp)
    local position = state and redis.call("LPOS", list, key) -- none if it was given another time since
    if not position then
      return nil, -2
    elseif not fifo.is_latest(state, ARGV[i + 2]) then
      return nil, -1
    end
    local counted, first = fifo.shown(state)
    return {
      key = key, stamp = stamp, group = group, member = stamp .. group, list = list, position = position,
      state = state, receives = tonumber(ARGV[i + 2]), counted = counted, first = first,
      is_marked = is_marked,
    }
  end

  function kind.requeue(m)
    local n, first, _, b = fifo.parse(m.state)
    n, b = n + 1, b + 2
    local since = now_us
    if n == b then -- no receive counts
      first, since = "0", fifo_key.available_us(m.key)
    end
    redis.call("ZREM", inflight, m.member)
    redis.call("HSET", states, m.stamp, fifo.state(n, first, since, b))
  end

  function kind.record(m)
    return redis.call("LINDEX", m.list, m.position + 1)
  end

  function kind.retry(m, record, delay_ms)
    if delay_ms == 0 then
      fifo.expire(base, m.member, now_ms)
    else
      redis.call("ZADD", inflight, score.of(math.ceil(now_us / 1000) + delay_ms, m.receives), m.member)
    end
    redis.call("LSET", m.list, m.position + 1, record)
  end

  function kind.dead_letter(m, record, policy)
    redis.call("ZREM", inflight, m.member) -- a retry instead enters it again
    local letter = {key = m.key, first = m.first, receives = m.counted, record = record}
    local refused = require("lib.deadletter").move_fifo(base, policy, m.group, {letter}, now_us, true)
    if refused then
      return refused
    end
    fifo.remove_at(m.list, m.position / 2)
    redis.call("HDEL", states, m.stamp)
    redis.pcall("HINCRBY", meta, "messages", -1)
    require("lib.counting").add(base, {dead_r = 1})
  end

  function kind.is_visible(m, status)
    local is_gone = status < 0
    if require("lib.make_available")(base, m.group, is_gone and now_us or nil) then
      return true
    end
    redis.pcall("ZREM", available, m.group) -- its head may have been visible
    return false
  end

  return require("lib.release")(base, now_us, kind)
end)
