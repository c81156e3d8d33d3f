--[[
Delete messages of a standard queue: members of `inflight` from ARGV[first] on. A receipt handle works as long as the
message stays in the queue, also when it is visible again or was given another time. Returns how many were there and, if
some receipts are refused, a status for each: 1 deleted or gone, -1 the message is not deleted but left under another
key (lib/moved.lua). is_done: they were deleted before, by the first attempt of a call that is repeated. deleted: so
many of them have been taken out of `inflight`. now_ms: if the caller knows it.
]]
-- Take the marks off, which kept messages from being found (lib/timeline.lua). Returns those members; nil if none was
-- marked.
local function unmark(members)
  local marked = nil
  for i = 1, #members do
    if string.byte(members[i]) == 126 then
      local given, member = string.match(members[i], "^~@(%d+)~(.*)$") -- a test has a clock of its own
      members[i], marked = member or string.sub(members[i], 2), marked or {at_ms = given and math.floor(given / 1000)}
      marked[#marked + 1] = members[i]
    end
  end
  return marked
end

-- Take such members out of `inflight`, and note (member -> true) which are there, or delayed. Returns how many were.
local function take_out(base, marked)
  local is_any_missing = true
  for _, set in ipairs({"inflight", "delayed"}) do
    local scores = is_any_missing and redis.call("ZMSCORE", base .. set, unpack(marked)) or {}
    is_any_missing = false
    for i = 1, #marked do
      marked[marked[i]] = marked[marked[i]] or scores[i]
      is_any_missing = is_any_missing or not marked[marked[i]]
    end
  end
  return redis.call("ZREM", base .. "inflight", unpack(marked))
end

-- The deletion of marked ones is a step of their timelines.
local function record(base, marked, now_ms) -- nil = by the clock
  local timeline = require("lib.timeline")
  for i = 1, #marked do
    if marked[marked[i]] then
      timeline.add(base, "k", marked[i], "")
      marked[marked[i]] = nil -- once
    end
  end
  timeline.write(marked.at_ms or now_ms)
end

-- A status for each if some are refused, else nil.
local function refused(base, members)
  if redis.call("EXISTS", base .. "moved") == 0 then
    return nil
  end
  local left, statuses, is_any = redis.call("ZMSCORE", base .. "moved", unpack(members)), {}, false
  for i = 1, #members do
    statuses[i] = left[i] and -1 or 1
    is_any = is_any or left[i]
  end
  return is_any and statuses or nil
end

-- Those that are visible again in the groups of a fair queue. Returns how many, and how many of them had arrived there.
local function delete_in_groups(base, members, marked)
  local message, score = require("lib.message"), require("lib.score")
  local groups, seen = {}, {} -- each once, as they are counted
  for _, member in ipairs(members) do
    if not seen[member] then
      local group = message.group(member)
      groups[group], seen[member] = groups[group] or {}, true
      table.insert(groups[group], member)
    end
  end
  local deleted, counts = 0, {returned = 0, arrived = 0}
  for group, found in pairs(groups) do
    local again = base .. "again:" .. group
    local scores, removed = redis.call("ZMSCORE", again, unpack(found)), 0
    for i = 1, #found do
      if scores[i] then
        local field = score.counter(scores[i])
        counts[field], removed = counts[field] + 1, removed + 1
        if marked then
          marked[found[i]] = true
        end
      end
    end
    if removed > 0 then
      redis.call("ZREM", again, unpack(found))
      deleted = deleted + removed
    end
  end
  for field, n in pairs(counts) do
    if n > 0 then
      redis.call("HINCRBY", base .. "meta", field, -n)
    end
  end
  return deleted, counts.arrived
end

return function(base, first, is_done, deleted, now_ms)
  local members, statuses = {unpack(ARGV, first)}, nil
  if is_done then
    unmark(members)
    return 0, refused(base, members)
  end
  deleted = deleted or redis.call("ZREM", base .. "inflight", unpack(members))
  local marked
  if deleted < #members then -- others may be delayed, or wait in the group of a fair queue
    marked = unmark(members)
    deleted = deleted + (marked and take_out(base, marked) or 0)
  end
  if deleted < #members then
    local unreceived = redis.call("ZREM", base .. "delayed", unpack(members))
    deleted = deleted + unreceived
    if redis.call("HEXISTS", base .. "meta", "fair") == 1 then
      local found, arrived = delete_in_groups(base, members, marked)
      deleted, unreceived = deleted + found, unreceived + arrived
    end
    if unreceived > 0 then -- they count as deleted
      require("lib.counting").add(base, {crossed = unreceived})
    end
    statuses = deleted < #members and refused(base, members) or nil
  end
  if deleted > 0 then
    redis.call("HDEL", base .. "store", unpack(members))
  end
  if marked then
    record(base, marked, now_ms)
  end
  return deleted, statuses
end
