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
    redis.call("HINCRBY", base .. "meta", require("lib.score").counter(at), "-1")
    redis.call("ZADD", inflight, at, member)
  end
  return at
end
