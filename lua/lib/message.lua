--[[
The key of a message in a standard queue, as it stands in lists, hashes and sorted sets.

  id                     24 characters: 16 digits of server time in microseconds + 8 from the sender
  ready, never received  id  or  id@GROUP
  ready, received before id FIRST /TOTAL/COUNT/DUE/MOVED/SOURCE [@GROUP]
  in flight              id FIRST  or  id FIRST@GROUP  or  id FIRST /TOTAL/COUNT/DUE/MOVED/SOURCE [@GROUP]
  tombstone              id-  of a cancelled message

FIRST is the time of the first receive (13 digits, ms), TOTAL the receives in all queues before this delivery cycle and
COUNT those in this queue before it. DUE is the time (ms) it was scheduled for if that was far ahead, else "": its
retention counts from then. MOVED is when it became a dead letter (ms) and SOURCE the queue it came from, else "".

A delivery cycle begins when a message is received under a key from a list, and its key in flight, its *member*, is the
same until the cycle ends: while the message is in flight, when it is visible again (in `inflight`, or `again:GROUP` of
a fair queue) and when it was given another time (in `delayed`). lib/score.lua describes its scores.
]]
local message = {}

local MS = 13 -- characters of an id that are its time of sending in ms
local ID = 24 -- characters of an id
local ID_FIRST = 37 -- characters of an id with FIRST behind it
local LONGEST_PLAIN = 38 -- only longer keys can have a "/" part: the shortest ones have FIRST or DUE, and 44 characters
local FAR_MS = 900000 -- SQS's longest delay

function message.is_tombstone(key)
  return #key == ID + 1
end

-- Was it perhaps received, or scheduled for later, in an earlier cycle?
function message.may_have_past(key)
  return #key > LONGEST_PLAIN
end

-- Was it? `key` stands in a list.
function message.has_past(key)
  return message.may_have_past(key) and string.find(key, "^%d*/", ID + 1) ~= nil
end

-- Split a key into its parts.
function message.parse(key)
  local part = {id = string.sub(key, 1, ID), first = "", total = 0, count = 0, due = "", moved = "", source = ""}
  local rest = string.sub(key, ID + 1)
  local at = string.find(rest, "@", 1, true)
  if at then
    part.group = string.sub(rest, at + 1)
    rest = string.sub(rest, 1, at - 1)
  end
  local first, total, count, due, moved, source = string.match(rest, "^(%d*)/(%d+)/(%d+)/(%d*)/(%d*)/(.*)$")
  if first then
    part.first, part.total, part.count = first, tonumber(total), tonumber(count)
    part.due, part.moved, part.source = due, moved, source
  else
    part.first = rest
  end
  return part
end

-- Put a key together again.
function message.format(part)
  local key = part.id .. part.first
  if part.total > 0 or part.count > 0 or part.due ~= "" then
    key = table.concat({key, part.total, part.count, part.due, part.moved, part.source}, "/")
  end
  if part.group then
    key = key .. "@" .. part.group
  end
  return key
end

-- Is its retention over? `oldest` is the earliest time of sending (13 digits, ms) that is kept.
function message.is_expired(key, oldest)
  if string.sub(key, 1, MS) >= oldest then
    return false
  end
  return not message.may_have_past(key) or message.parse(key).due < oldest
end

-- Its message group, "" if it has none.
function message.group(key)
  if #key == ID or #key == ID_FIRST and string.sub(key, ID + 1, ID + 1) ~= "@" then
    return ""
  end
  return string.match(key, "@(.*)$", ID + 1) or ""
end

-- When a message that waits in a list became visible (13 digits, ms): sent, due, or moved here.
function message.since(key)
  if message.has_past(key) then
    local part = message.parse(key)
    if part.moved ~= "" then
      return part.moved
    elseif part.due ~= "" then
      return part.due
    end
  end
  return string.sub(key, 1, MS)
end

-- The key under which a member waited before its cycle, as if it had not been received.
function message.before(member)
  if #member == ID_FIRST then
    return string.sub(member, 1, ID)
  end
  local part = message.parse(member)
  if part.total == 0 then
    part.first = ""
  end
  return message.format(part)
end

-- A key in whose place another cycle begins: `receives` of the present one count as earlier ones.
function message.with_receives(key, receives)
  local part = message.parse(key)
  part.total, part.count = part.total + receives, part.count + receives
  return message.format(part)
end

-- A key that is given a due time: if that is far ahead the key remembers it, for retention.
function message.scheduled(key, due_ms)
  local part = message.parse(key)
  local is_far = due_ms - tonumber(string.sub(key, 1, MS)) > FAR_MS
  part.due = is_far and string.format("%d", due_ms) or ""
  return message.format(part)
end

-- The member under which a key from a list is received.
function message.member(key, now)
  if #key == ID or string.find(key, "^[@/]", ID + 1) then
    return string.sub(key, 1, ID) .. now .. string.sub(key, ID + 1)
  end
  return key
end

return message
