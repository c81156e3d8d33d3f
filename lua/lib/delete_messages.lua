--[[
Delete messages of a standard queue: members of `inflight` from ARGV[first] on. A receipt handle works as long as the
message stays in the queue, also when it is visible again or was given another time. Returns how many were there and, if
some receipts are refused, a status for each: 1 deleted or gone, -1 the message is not deleted but left under another
key (lib/moved.lua). is_done: they were deleted before, by the first attempt of a call that is repeated.
]]
-- A status for each if some are refused, else nil.
local function refused(base, members)
  if redis.call("EXISTS", base .. "moved") == 0 then
    return nil
  end
  local left, statuses = redis.call("ZMSCORE", base .. "moved", unpack(members)), {}
  local is_any = false
  for i = 1, #members do
    statuses[i] = left[i] and -1 or 1
    is_any = is_any or left[i]
  end
  return is_any and statuses or nil
end

-- Not all of them are in flight: the others may be delayed, or wait in the group of a fair queue.
local function find_others(base, members, deleted)
  deleted = deleted + redis.call("ZREM", base .. "delayed", unpack(members))
  local groups, seen = {}, {} -- each once, as they are counted
  for _, member in ipairs(members) do
    if not seen[member] then
      local group = #member ~= 37 and require("lib.message").group(member) or ""
      groups[group], seen[member] = groups[group] or {}, true
      table.insert(groups[group], member)
    end
  end
  local is_fair = redis.call("HEXISTS", base .. "meta", "fair") == 1
  local counts = {returned = 0, arrived = 0}
  for group, found in pairs(is_fair and groups or {}) do
    local scores = redis.call("ZMSCORE", base .. "again:" .. group, unpack(found))
    local removed = 0
    for i = 1, #found do
      if scores[i] then
        local field = string.sub(scores[i], -3) == "000" and "arrived" or "returned"
        counts[field], removed = counts[field] + 1, removed + 1
      end
    end
    if removed > 0 then
      redis.call("ZREM", base .. "again:" .. group, unpack(found))
      deleted = deleted + removed
    end
  end
  for field, n in pairs(counts) do
    if n > 0 then
      redis.call("HINCRBY", base .. "meta", field, -n)
    end
  end
  return deleted, deleted < #members and refused(base, members) or nil
end

return function(base, first, is_done)
  local members, statuses = {unpack(ARGV, first)}, nil
  if is_done then
    return 0, refused(base, members)
  end
  local deleted = redis.call("ZREM", base .. "inflight", unpack(members))
  if deleted < #members then
    deleted, statuses = find_others(base, members, deleted)
  end
  if deleted > 0 then
    redis.call("HDEL", base .. "store", unpack(members))
  end
  return deleted, statuses
end
