--[[
A message moves to the dead-letter queue in the receive that would be one too many; or when a worker releases it, after
its last receive or because it shall not be tried again. No message moves when its visibility timeout ends.

Dead letters stay in the hash slot where they died: the dead-letter queue has a shard, a partition of its own, under
the hash tag of each source partition, so a move is part of one script. A shard exists when its meta does.
]]
local deadletter = {}

-- The base of the keys of another queue's shard in this hash slot: "rqsqs:{orders/0}:orders:" -> "...:NAME:".
function deadletter.base(base, name)
  return string.match(base, "^(.-}:)") .. name .. ":"
end

-- The queue of a partition.
local function name_of(base)
  return string.match(base, "([^:]+):$")
end

-- The redrive policy of a partition, or nil: name and base of the dead-letter queue, max_receives, is_missing (there is
-- no shard here), and missing_until (ms): it was looked for and does not exist, so messages stay that long.
function deadletter.policy(base)
  local name, max_receives, missing_until =
    unpack(redis.call("HMGET", base .. "meta", "dlq", "max_receives", "dlq_missing_until"))
  if not name then
    return nil
  end
  local shard = deadletter.base(base, name)
  return {
    name = name,
    base = shard,
    max_receives = tonumber(max_receives),
    is_missing = redis.call("EXISTS", shard .. "meta") == 0,
    missing_until = tonumber(missing_until or "0"),
  }
end

-- The fate of a message after a number of receives in this queue:
--   "deliver"      it may be received again
--   "dead-letter"  it moves to the dead-letter queue now
--   "wait"         it moves as soon as the dead-letter queue has a shard here; the caller is told to create it
function deadletter.fate(policy, receives, now_ms)
  if not policy or receives == 0 or receives < policy.max_receives then
    return "deliver"
  elseif not policy.is_missing then
    return "dead-letter"
  end
  return policy.missing_until > now_ms and "deliver" or "wait"
end

-- The timelines of both queues (lib/timeline.lua). `is_told`: a worker said so, else it was received too often.
local function take_down(base, shard, key, receives, is_told)
  local timeline = require("lib.timeline")
  for _, of in ipairs({base, shard}) do
    timeline.add(of, "d", key, name_of(base), name_of(shard), receives, is_told and "1" or "")
  end
end

-- Move messages of a standard queue: a flat array member, receives of this delivery cycle, record ... The caller counts
-- how they left, `dead_r` or `dead_u` (lib/counting.lua), here and below.
function deadletter.move(base, moves, now_ms, is_told)
  local message, large = require("lib.message"), require("lib.large")
  local shard = deadletter.base(base, redis.call("HGET", base .. "meta", "dlq"))
  local letters, left = {}, {}
  for i = 1, #moves, 3 do
    local member, receives, record = moves[i], moves[i + 1], moves[i + 2]
    local part = message.parse(member)
    part.total, part.count = part.total + receives, 0
    part.moved, part.source = string.format("%d", now_ms), name_of(base)
    take_down(base, shard, member, part.total, is_told)
    left[#left + 1] = member
    letters[#letters + 1] = message.format(part)
    letters[#letters + 1] = record
    large.note(shard, #record)
  end
  local length = redis.call("RPUSH", shard .. "ready", unpack(letters))
  if length == #letters and redis.call("HGET", shard .. "meta", "fair") then
    require("lib.fair_ring").enter(shard, "")
  end
  require("lib.settings").unsort(shard)
  require("lib.counting").add(shard, {dead_in = #left})
  require("lib.moved").mark(base, now_ms, left)
  require("lib.timeline").write(now_ms)
  require("lib.wakeups").wake(shard)
end

-- Move messages {key, first, receives, record} of a group to the same group of the dead-letter queue, in order. Returns
-- the error if its list is damaged: then nothing was done.
function deadletter.move_fifo(base, policy, group, letters, now_us, is_told)
  local fifo_key, now = require("lib.fifo_key"), string.sub(now_us, 1, 13)
  local shard, flat, stamps, totals, largest = policy.base, {}, {}, {}, 0
  for i, m in ipairs(letters) do
    local first, total = fifo_key.earlier_receives(m.key)
    local receives = m.receives + tonumber(total or "0")
    stamps[i] = fifo_key.stamp(m.key)
    totals[i] = receives
    flat[2 * i - 1] = table.concat({stamps[i], first or m.first, receives, now, name_of(base)}, "/")
    flat[2 * i] = m.record
    largest = math.max(largest, #m.record)
  end
  local length = redis.pcall("RPUSH", shard .. "group:" .. group, unpack(flat))
  if type(length) == "table" then
    return length
  end
  for i, m in ipairs(letters) do
    take_down(base, shard, m.key, totals[i], is_told)
  end
  require("lib.large").note(shard, largest)
  redis.call("HINCRBY", shard .. "meta", "messages", #letters)
  require("lib.counting").add(shard, {dead_in = #letters})
  if length == #flat and redis.call("SISMEMBER", shard .. "paused", group) == 0 then
    redis.call("ZADD", shard .. "available", now_us, group)
  end
  require("lib.moved").mark(base, tonumber(now), stamps)
  require("lib.timeline").write(tonumber(now))
  require("lib.wakeups").wake(shard)
end

return deadletter
