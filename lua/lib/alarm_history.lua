-- Append an entry to the history of an alarm: the last 2,000 of two weeks are kept, also when the alarm is deleted.
-- histories is a ZSET of all alarms that have a history; entry is JSON.
local KEPT_MS, MOST = 1209600000, 2000
return function(histories, history, name, at, entry)
  local oldest = tonumber(at) - KEPT_MS
  redis.call("RPUSH", history, at .. entry)
  redis.call("LTRIM", history, -MOST, "-1")
  for _ = 1, 10 do
    local head = redis.call("LINDEX", history, "0")
    if not head or (tonumber(string.sub(head, 1, 13)) or 0) >= oldest then
      break
    end
    redis.call("LPOP", history)
  end
  redis.call("PEXPIRE", history, KEPT_MS)
  redis.call("ZADD", histories, at, name)
  redis.call("ZREMRANGEBYSCORE", histories, "-inf", string.format("(%d", oldest))
  redis.call("PEXPIRE", histories, KEPT_MS)
end
