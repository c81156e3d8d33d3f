--[[
The retry policy of a queue (attribute RetryPolicy, JSON, times in ms): exponential backoff with full jitter.

  {"base": 1000, "cap": 300000, "exceptions": {"NAME": {"base": ..., "cap": ...} or "dead"}}

Returns a function that decides about a failed message: its delay in ms, or nil = to the dead-letter queue at once; and
the longest delay.
  kinds     names of the classes of its exception, the most special first, separated by blanks
  failures  how often it failed, this time included
  wanted    a delay in ms the handler asked for, "" = none
  chance    where in the interval, 0 to 1000000
]]
return function(base)
  local text = redis.call("HGET", base .. "meta", "RetryPolicy")
  local policy = text and cjson.decode(text) or {}
  local first, cap = policy.base or 1000, policy.cap or 300000
  return function(kinds, failures, wanted, chance)
    local rule = {}
    for kind in string.gmatch(kinds, "%S+") do
      local found = policy.exceptions and policy.exceptions[kind]
      if found == "dead" then
        return nil, cap
      elseif found then
        rule = found
        break
      end
    end
    if wanted ~= "" then
      return tonumber(wanted), cap
    end
    local limit = (rule.base or first) * 2 ^ math.min(failures - 1, 40)
    return math.floor(math.min(rule.cap or cap, limit) * chance / 1000000), cap
  end
end
