-- The score in `inflight` of a member that a caller has a receipt for, or false. A message of a fair queue that is
-- visible again waits in its group: it is brought back, as its receipt is good until somebody else receives it.
return function(base, member)
  local score = redis.call("ZSCORE", base .. "inflight", member)
  if score or redis.call("HEXISTS", base .. "meta", "fair") == 0 then
    return score
  end
  local again = base .. "again:" .. require("lib.message").group(member)
  score = redis.call("ZSCORE", again, member)
  if score then
    redis.call("ZREM", again, member)
    redis.call("HINCRBY", base .. "meta", string.sub(score, -3) == "000" and "arrived" or "returned", "-1")
    redis.call("ZADD", base .. "inflight", score, member)
  end
  return score
end
