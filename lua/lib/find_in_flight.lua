-- Find the score in `inflight` of a member that a caller has a receipt for, or false; and bring the message back there
-- if it waits in its group, as a message of a fair queue does that is visible again. Its receipt is good until the
-- message is received again.
return function(base, member)
  local inflight = base .. "inflight"
  local at = redis.call("ZSCORE", inflight, member)
  if at or redis.call("HEXISTS", base .. "meta", "fair") == 0 then
    return at
  end
  local again = base .. "again:" .. require("lib.message").group(member)
  at = redis.call("ZSCORE", again, member)
  if at then
    redis.call("ZREM", again, member)
    local counter = require("lib.score").counter(at)
    redis.call("HINCRBY", base .. "meta", counter, "-1")
    if counter == "arrived" then -- it counted as unreceived (lib/counting.lua)
      require("lib.counting").add(base, {crossed = 1})
    end
    redis.call("ZADD", inflight, at, member)
  end
  return at
end
