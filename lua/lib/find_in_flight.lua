-- The score in `inflight` of a member that a caller has a receipt for, or false. A message of a fair queue that is
-- visible again waits in its group: it is brought back, as its receipt is good until somebody else receives it.
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
