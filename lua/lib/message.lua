--[[
The key of a message in a standard queue, as it stands in lists, hashes and sorted sets.

  id                     24 characters: 16 digits of server time in microseconds + 8 from the sender
  ready, never received  id  or  id@GROUP
  ready, with a history  id FIRST /TOTAL/COUNT/DUE/MOVED/SOURCE [@GROUP]
  in flight              id FIRST  or  id FIRST@GROUP  or  id FIRST /TOTAL/COUNT/DUE/MOVED/SOURCE [@GROUP]
  cancelled (a tombstone)     id-

FIRST is the time of the first receive (13 digits, ms), TOTAL the receives in all queues before this stay and COUNT
those in this queue before this stay. DUE is the time (ms) it was scheduled for if that was far ahead, else "": its
retention counts from then. MOVED is when it became a dead letter (ms) and SOURCE the queue it came from, else "". A
stay begins when a message is received, and its member is the same until the stay ends: while the message is in flight,
when it is visible again (in `inflight`, or `again:GROUP` of a fair queue) and when it was given another time (in
`delayed`). The last three digits of its score there are the receives of this stay; 000 = none yet.
]]
local message = {}

-- Split a key into its parts.
function message.parse(key)
  local part = {id = string.sub(key, 1, 24), first = "", total = 0, count = 0, due = "", moved = "", source = "", group = nil}
  local rest = string.sub(key, 25)
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

-- Is its retention over? `oldest` is the earliest time of sending (13 digits, ms) that is kept.
function message.expired(key, oldest)
  if string.sub(key, 1, 13) >= oldest then
    return false
  end
  if #key <= 38 then
    return true
  end
  return message.parse(key).due < oldest
end

-- Put a key together again.
function message.format(part)
  local key = part.id .. part.first
  if part.total > 0 or part.count > 0 or part.due ~= "" then
    key = key .. "/" .. part.total .. "/" .. part.count .. "/" .. part.due .. "/" .. part.moved .. "/" .. part.source
  end
  if part.group then
    key = key .. "@" .. part.group
  end
  return key
end

-- Its message group, "" if it has none.
function message.group(key)
  if #key == 24 or #key == 37 and string.sub(key, 25, 25) ~= "@" then
    return ""
  end
  return string.match(key, "@(.*)$", 25) or ""
end

-- When a message that waits in a list became visible (13 digits, ms): sent, due, or moved here.
function message.since(key)
  if #key > 38 and string.find(key, "^%d*/", 25) then
    local part = message.parse(key)
    if part.moved ~= "" then
      return part.moved
    elseif part.due ~= "" then
      return part.due
    end
  end
  return string.sub(key, 1, 13)
end

-- The key under which a member of `inflight` waited before its stay, as if it had not been received.
function message.before(member)
  if #member == 37 then
    return string.sub(member, 1, 24)
  end
  local part = message.parse(member)
  if part.total == 0 then
    part.first = ""
  end
  return message.format(part)
end

-- A key that is given a due time: if that is far ahead the key remembers it, for retention.
function message.scheduled(key, due_ms)
  local part = message.parse(key)
  local is_far = due_ms - tonumber(string.sub(key, 1, 13)) > 900000
  part.due = is_far and string.format("%d", due_ms) or ""
  return message.format(part)
end

-- The member of `inflight` under which a ready key is received for the first time in this stay.
function message.member(key, now_ms)
  if #key == 24 then
    return key .. now_ms
  end
  local c = string.sub(key, 25, 25)
  if c == "@" or c == "/" then
    return string.sub(key, 1, 24) .. now_ms .. string.sub(key, 25)
  end
  return key
end

return message
