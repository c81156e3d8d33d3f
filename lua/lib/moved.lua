--[[
Messages that left the place where they were received: to a dead-letter queue, back from one, or because their key had
to change. A receipt handle from before finds nothing then, although the message is not deleted:
`moved` (ZSET, member of `inflight` as it was -> ms; FIFO: stamp) tells such handles from those of deleted messages. It
keeps the last 10,000 for an hour.
]]
local moved = {}

local KEPT, KEPT_MS = 10000, "3600000"

-- Remember members of `inflight` (FIFO: stamps) that were left.
function moved.mark(base, now_ms, members)
  if #members == 0 then
    return
  end
  local name, entries = base .. "moved", {}
  local at = string.format("%d", now_ms)
  for i = 1, #members do
    entries[2 * i - 1], entries[2 * i] = at, members[i]
  end
  if type(redis.pcall("ZADD", name, unpack(entries))) == "number" then -- else it is damaged, and not worth an error
    redis.call("ZREMRANGEBYRANK", name, "0", -KEPT - 1)
    redis.call("PEXPIRE", name, KEPT_MS)
  end
end

-- Did the message of that member (FIFO: stamp) leave?
function moved.has(base, member)
  return redis.call("ZSCORE", base .. "moved", member) ~= false
end

return moved
