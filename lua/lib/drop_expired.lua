-- Drop the messages at the head of a standard queue's list whose retention is over, and tombstones, at most `limit`.
-- Their records are not read. `met` (a table or nil) takes the keys of messages. Returns how many were dropped, how
-- many of them were tombstones, and the key of the head now, if it was seen.
return function(list, oldest, limit, met)
  local message = require("lib.message")
  local dropped, tombstones, head = 0, 0, nil
  while dropped < limit do
    local key = redis.call("LINDEX", list, string.format("%d", 2 * dropped))
    if not key then
      break
    elseif message.is_tombstone(key) then
      tombstones = tombstones + 1
    elseif not message.is_expired(key, oldest) then
      head = key
      break
    elseif met then
      met[#met + 1] = key
    end
    dropped = dropped + 1
  end
  if dropped > 0 then
    redis.call("LTRIM", list, string.format("%d", 2 * dropped), "-1")
  end
  return dropped, tombstones, head
end
