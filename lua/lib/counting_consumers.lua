--[[
Consumers of a queue by state, and receives that wait in them, for lib/counting.lua. Of each consumer only what metrics
need is read (=CONSUMER in `consumers`, written by beat_consumer.lua), since descriptions are long. Partitions other
than the home have none.
]]
local PAGE, PAGES = 1000, 5
local LAPSED_MS = 60000 -- as long as they are listed (list_consumers.lua)

-- Put behind a list: "consumers:STATE", number ..., "waiters", number.
return function(tail, base, now)
  local since, states, waiters = string.format("(%d", now - LAPSED_MS), {}, 0
  for page = 0, PAGES - 1 do
    local found = redis.pcall("ZRANGE", base .. "heartbeats", "+inf", since, "BYSCORE", "REV", "LIMIT", page * PAGE,
      PAGE, "WITHSCORES")
    if #found == 0 then
      break
    end
    local names, briefs = {}, {}
    for i = 1, #found, 2 do
      names[#names + 1], briefs[#briefs + 1] = found[i], "=" .. found[i]
    end
    local said = redis.pcall("HMGET", base .. "consumers", unpack(briefs))
    local ordered = redis.pcall("HMGET", base .. "commands", unpack(names))
    for i = 1, #names do
      local state, number = string.match(said[i] or "", '^{"state":"(%l+)","waiters":(%d+)}$')
      if tonumber(found[2 * i]) <= tonumber(now) then
        state, number = "lost", 0
      elseif state == "running" and ordered[i] then -- it has not handled this command yet
        state = ordered[i]
      end
      state = state or "unknown"
      states[state], waiters = (states[state] or 0) + 1, waiters + (number or 0)
    end
    if #names < PAGE then
      break
    end
  end
  for state, number in pairs(states) do
    tail[#tail + 1], tail[#tail + 2] = "consumers:" .. state, string.format("%d", number)
  end
  tail[#tail + 1], tail[#tail + 2] = "waiters", string.format("%d", waiters)
end
