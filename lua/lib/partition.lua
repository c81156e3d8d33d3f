--[[
Which partition of its queue a message group belongs to (FIFO), or a deduplication id (standard). `partition` is
"NUMBER/COUNT", `before` the count before it was raised, while there may be groups in their old places.

A group changes its place when it is empty: its old partition takes messages while it has some, and refuses others from
then on; its new one takes them from senders who were refused there. So its messages are in one place at any time.
]]
return function(partition, before, text, was_refused, is_there)
  local number, count = string.match(partition, "^(%d+)/(%d+)$")
  local hash = tonumber(string.sub(redis.sha1hex(text), 1, 8), 16)
  number = tonumber(number)
  local was_here = before and hash % tonumber(before) == number
  if hash % tonumber(count) == number then
    return was_refused or was_here or not before
  end
  return was_here and is_there()
end
