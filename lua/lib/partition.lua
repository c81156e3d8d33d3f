--[[
Which partition of its queue a message group belongs to (FIFO), or a deduplication id (standard).

The field `partition` of a partition's meta is NUMBER/COUNT, or NUMBER/COUNT/BEFORE while there may be something in its
place of the time when there were BEFORE partitions. A group changes its place when it is empty: its old partition takes
messages for it while it has some. After that it gives senders a *migration token*, COUNT:STAMP, with which the new
partition takes them; so the messages of a group are in one place at any time. The deduplication ids
that an old partition knows count in the same way.
]]
local partition = {}

-- The place of a text, and COUNT:
--   "here"       the partition takes it
--   "old"        it takes it while it has messages of the group, and recognises duplicates
--   "elsewhere"  another partition has to be asked
function partition.place(field, text, token)
  local number, count, before = string.match(field, "^(%d+)/(%d+)/?(%d*)$")
  local hash = tonumber(string.sub(redis.sha1hex(text), 1, 8), 16)
  number = tonumber(number)
  local was_here = before ~= "" and hash % tonumber(before) == number
  if hash % tonumber(count) == number then
    local may_come = before == "" or was_here or string.match(token, "^(%d+):") == count
    return may_come and "here" or "elsewhere", count
  end
  return was_here and "old" or "elsewhere", count
end

local function parts(state)
  local count, before = string.match(state, "^(%d+)/?(%d*)$")
  return tonumber(count), before
end

-- Is one state of a queue's partitions a later one than another? A state ends with COUNT, or COUNT/BEFORE while there
-- may be something in its old place; the count only rises, and BEFORE goes once for each count. A slow or repeated call
-- with an earlier state changes nothing.
function partition.is_later(new, old)
  local count, before = parts(new)
  local have, have_before = parts(old or "0")
  return count > have or count == have and before == "" and have_before ~= ""
end

return partition
