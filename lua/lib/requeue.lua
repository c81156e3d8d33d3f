-- A message that was received and not begun goes back to where it was in its line, as if it had not been received.
return function(base, member)
  local message, fair_ring, sorted = require("lib.message"), require("lib.fair_ring"), require("lib.sorted")
  local meta, store = base .. "meta", base .. "store"
  local key, record = message.before(member), redis.call("HGET", store, member)
  redis.call("ZREM", base .. "inflight", member)
  if not record then -- damaged: nothing to hand out
    return
  end
  redis.call("HDEL", store, member)
  local is_fair = redis.call("HEXISTS", meta, "fair") == 1
  local group = is_fair and message.group(key) or ""
  local list = fair_ring.list(base, group)
  local since = message.since(key)
  local older = sorted.count(list, function(other)
    local time = message.since(other)
    return time < since or time == since and other < key
  end, 1024)
  local following = older > 0 and redis.call("LINDEX", list, string.format("%d", 2 * older))
  if older == 0 then
    redis.call("LPUSH", list, record, key)
  elseif following then
    redis.call("LINSERT", list, "BEFORE", following, key)
    redis.call("LINSERT", list, "BEFORE", following, record)
  else
    redis.call("RPUSH", list, key, record)
  end
  if #key > 24 and string.find(key, "^%d*/", 25) then
    require("lib.settings").unsort(meta)
  end
  if group ~= "" then
    redis.call("HINCRBY", meta, "grouped", "1")
  end
  if is_fair then
    fair_ring.enter(base, group)
  end
end
