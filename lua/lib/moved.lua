--[[
Messages that left a partition under the id they have: to a dead-letter queue, back from one, or because their key had to
change. A receipt handle from before finds nothing then. That is no reason to say that the message is deleted: `moved`
(ZSET, id -> ms) tells such handles from those of deleted messages. It keeps the last 10,000 for an hour.
]]
local moved = {}

local KEPT, KEPT_MS = 10000, "3600000"

-- Remember ids (FIFO: stamps).
function moved.mark(base, now_ms, ids)
  if #ids == 0 then
    return
  end
  local name, entries = base .. "moved", {}
  local at = string.format("%d", now_ms)
  for i = 1, #ids do
    entries[2 * i - 1], entries[2 * i] = at, ids[i]
  end
  redis.call("ZADD", name, unpack(entries))
  redis.call("ZREMRANGEBYRANK", name, "0", -KEPT - 1)
  redis.call("PEXPIRE", name, KEPT_MS)
end

-- Did the message of that id leave?
function moved.has(base, id)
  return redis.call("ZSCORE", base .. "moved", id) ~= false
end

return moved
