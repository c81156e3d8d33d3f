-- A message that was received and not begun goes back to where it was in its list, as if it had not been received.
local counting = require("lib.counting")
local fair_ring = require("lib.fair_ring")
local message = require("lib.message")
local sorted = require("lib.sorted")

local LOOKED_AT = 1024 -- messages that may have come before it

return function(base, member)
  local store = base .. "store"
  local record = redis.call("HGET", store, member)
  if not record then -- damaged: nothing to hand out
    redis.call("ZREM", base .. "inflight", member)
    counting.add(base, {damaged_r = 1})
    return
  end
  local key = message.before(member)
  local is_fair = redis.call("HEXISTS", base .. "meta", "fair") == 1
  local group, since = is_fair and message.group(key) or "", message.since(key)
  if is_fair then -- if a key has another type, the call breaks off while the message is where it was
    fair_ring.enter(base, group)
  end
  sorted.insert(fair_ring.list(base, group), key, record, function(other)
    local time = message.since(other)
    return time < since or time == since and other < key
  end, LOOKED_AT)
  redis.call("ZREM", base .. "inflight", member)
  redis.call("HDEL", store, member)
  counting.add(base, {crossed = -1})
  if message.has_past(key) then
    require("lib.settings").unsort(base)
  end
  if group ~= "" then
    redis.call("HINCRBY", base .. "meta", "grouped", "1")
  end
end
