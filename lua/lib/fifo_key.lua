-- What the key of a FIFO message says beyond its stamp (lib/fifo.lua shows the key).
local fifo_key = {}

-- The history of a dead letter from its key: first receive (ms, string), receives, moved (ms, string), source; nil if
-- none.
function fifo_key.earlier_receives(key)
  return string.match(key, "/(%d*)/(%d+)/(%d*)/(.*)$")
end

-- When its retention began, in ms: sending, the due time it was given, or (a dead letter) the move.
function fifo_key.enqueued_at_ms(key)
  if #key == 16 then
    return tonumber(string.sub(key, 1, 13))
  end
  local due = string.match(key, "^%d+%+(%d+)")
  local _, _, moved = fifo_key.earlier_receives(key)
  if moved and moved ~= "" then
    return tonumber(moved)
  end
  return tonumber(due or string.sub(key, 1, 13))
end

-- Is the message still delayed? (Promotion takes it out of both sets when it is due.)
function fifo_key.is_delayed(base, key, member)
  local mark = string.sub(key, 17, 17)
  if mark == "+" then
    return redis.call("ZSCORE", base .. "delayed", member)
  elseif mark == "q" then
    return redis.call("ZSCORE", base .. "postponed", member)
  end
  return false
end

return fifo_key
