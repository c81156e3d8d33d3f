--[[
The key of a message in a standard queue, as it stands in lists, hashes and sorted sets.

  id                     24 characters: 16 digits of server time in microseconds + 8 from the sender
  ready, never received  id  or  id@GROUP
  ready, with a history  id FIRST /TOTAL/COUNT/DUE/SOURCE [@GROUP]
  in flight              id FIRST  or  id FIRST@GROUP  or  id FIRST /TOTAL/COUNT/DUE/SOURCE [@GROUP]
  cancelled (a hole)     id-

FIRST is the time of the first receive (13 digits, ms), TOTAL the receives in all queues before this stay and COUNT
those in this queue before this stay. DUE is the time (ms) it was scheduled for if that was far ahead, else "": its
retention counts from then. SOURCE is the queue it came from as a dead letter, else "". A stay is one membership of
`inflight`, whose score adds its own count.
]]
local message = {}

-- Split a key into its parts.
function message.parse(key)
  local part = {id = string.sub(key, 1, 24), first = "", total = 0, count = 0, due = "", source = "", group = nil}
  local rest = string.sub(key, 25)
  local at = string.find(rest, "@", 1, true)
  if at then
    part.group = string.sub(rest, at + 1)
    rest = string.sub(rest, 1, at - 1)
  end
  local first, total, count, due, source = string.match(rest, "^(%d*)/(%d+)/(%d+)/(%d*)/(.*)$")
  if first then
    part.first, part.total, part.count, part.due, part.source = first, tonumber(total), tonumber(count), due, source
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
    key = key .. "/" .. part.total .. "/" .. part.count .. "/" .. part.due .. "/" .. part.source
  end
  if part.group then
    key = key .. "@" .. part.group
  end
  return key
end

-- A delayed key at delivery: when it was scheduled far ahead, it remembers its due time, for retention.
function message.scheduled(key, due_ms)
  if due_ms - tonumber(string.sub(key, 1, 13)) <= 900000 then
    return key
  end
  local part = message.parse(key)
  part.due = string.format("%.0f", due_ms)
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

-- The field of `store` that holds the record of a member of `inflight`.
function message.field(member)
  if #member == 37 then
    return string.sub(member, 1, 24)
  end
  return member
end

return message
