--[[
Dead letters stay in the hash slot where they died: the dead-letter queue has a shard, a partition of its own, under
the hash tag of each source partition, so a move is part of one script. A shard exists when its meta does.
]]
local message = require("lib.message")
local wakeups = require("lib.wakeups")

local deadletter = {}

-- The base of the keys of another queue's shard in this hash slot: "rqsqs:{orders/0}:orders:" -> "...:NAME:".
function deadletter.base(meta, name)
  return string.match(meta, "^(.-}:)") .. name .. ":"
end

-- The redrive policy of a partition, or nil.
function deadletter.policy(meta)
  local p = redis.call("HMGET", meta, "dlq", "max_receives", "dlq_missing_until")
  if not p[1] then
    return nil
  end
  local base = deadletter.base(meta, p[1])
  return {
    name = p[1],
    base = base,
    max_receives = tonumber(p[2]),
    missing = redis.call("EXISTS", base .. "meta") == 0,
    -- The dead-letter queue was looked for and does not exist: messages stay and are delivered on.
    suspended = function(now_ms)
      return p[3] and tonumber(p[3]) > now_ms
    end,
  }
end

-- Move messages of a standard queue: a flat array member, receives, record ...
function deadletter.move(meta, moves, now_ms)
  local name = redis.call("HGET", meta, "dlq")
  local base = deadletter.base(meta, name)
  local source = string.match(meta, "([^:]+):meta$")
  local letters, left = {}, {}
  for i = 1, #moves, 3 do
    local part = message.parse(moves[i])
    part.total, part.count = part.total + moves[i + 1], 0
    part.moved, part.source = string.format("%d", now_ms), source
    left[#left + 1] = moves[i]
    letters[#letters + 1] = message.format(part)
    letters[#letters + 1] = moves[i + 2]
    require("lib.large").note(base .. "meta", #moves[i + 2])
  end
  if redis.call("RPUSH", base .. "ready", unpack(letters)) == #letters and redis.call("HGET", base .. "meta", "fair") then
    require("lib.fair_ring").enter(base, "")
  end
  require("lib.settings").unsort(base .. "meta")
  require("lib.moved").mark(string.sub(meta, 1, -5), now_ms, left)
  wakeups.wake(base)
end

-- Move messages {key, first, receives, record} to their group in the dead-letter queue's FIFO shard, in order.
function deadletter.push_fifo(meta, dlq, group, letters, now_us)
  local source, now = string.match(meta, "([^:]+):meta$"), string.sub(now_us, 1, 13)
  local flat, stamps, largest = {}, {}, 0
  for i, m in ipairs(letters) do
    local first, total = require("lib.fifo_key").earlier_receives(m.key)
    stamps[i] = string.sub(m.key, 1, 16)
    flat[2 * i - 1] = string.format("%s/%s/%.0f/%s/%s", stamps[i], first or m.first, m.receives + tonumber(total or "0"),
      now, source)
    flat[2 * i] = m.record
    largest = math.max(largest, #m.record)
  end
  require("lib.large").note(dlq.base .. "meta", largest)
  local length = redis.call("RPUSH", dlq.base .. "group:" .. group, unpack(flat))
  redis.call("HINCRBY", dlq.base .. "meta", "messages", #letters)
  if length == #flat and redis.call("SISMEMBER", dlq.base .. "paused", group) == 0 then
    redis.call("ZADD", dlq.base .. "available", now_us, group)
  end
  require("lib.moved").mark(string.sub(meta, 1, -5), tonumber(now), stamps)
  wakeups.wake(dlq.base)
end

return deadletter
