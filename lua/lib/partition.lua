--[[
Which partition of its queue a message group belongs to (FIFO), or a deduplication id (standard).

The field `partition` of a partition's meta is NUMBER/COUNT, or NUMBER/COUNT/BEFORE while there may be something in its
place of the time when there were BEFORE partitions. A group changes its place when it is empty: its old partition takes
messages for it while it has some. After that it gives senders a *migration token*, COUNT:STAMP, with which the new
partition takes them; so the messages of a group are in one place at any time. The deduplication ids
that an old partition knows count in the same way.

Returns the place and COUNT:
  "here"       the partition takes it
  "old"        it takes it while it has messages of the group, and recognises duplicates
  "elsewhere"  another partition has to be asked
]]
return function(partition, text, token)
  local number, count, before = string.match(partition, "^(%d+)/(%d+)/?(%d*)$")
  local hash = tonumber(string.sub(redis.sha1hex(text), 1, 8), 16)
  number = tonumber(number)
  local was_here = before ~= "" and hash % tonumber(before) == number
  if hash % tonumber(count) == number then
    local may_come = before == "" or was_here or string.match(token, "^(%d+):") == count
    return may_come and "here" or "elsewhere", count
  end
  return was_here and "old" or "elsewhere", count
end
