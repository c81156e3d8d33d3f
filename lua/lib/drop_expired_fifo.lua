--[[
Drop the messages at the head of a FIFO group whose retention is over, many in one step and without their records
passing through Lua, and count them. `free`: only up to the first that is in flight or delayed. Returns how many were
dropped, at most `limit`; the caller takes them off `messages` and looks whether the group is available.
]]
return function(base, group, oldest, limit, free, now_ms)
  local call, fifo_key = redis.call, require("lib.fifo_key")
  local list, members, stamps = base .. "group:" .. group, {}, {}
  while #stamps < limit do
    local key = redis.pcall("LINDEX", list, 2 * #stamps)
    if type(key) ~= "string" or not fifo_key.is_expired(key, oldest) then
      break
    end
    stamps[#stamps + 1] = fifo_key.stamp(key)
    members[#members + 1] = stamps[#stamps] .. group
  end
  local dropped = #stamps
  for _, set in ipairs(free and dropped > 0 and {"inflight", "postponed"} or {}) do
    local scores = call("ZMSCORE", base .. set, unpack(members, 1, dropped))
    for i = 1, dropped do
      if scores[i] then
        dropped = i - 1
        break
      end
    end
    if dropped == 0 then
      break
    end
  end
  if dropped > 0 then
    call("LTRIM", list, 2 * dropped, "-1")
    local received = call("HDEL", base .. "state", unpack(stamps, 1, dropped))
    require("lib.counting").add(base, {expired_r = received, expired_u = dropped - received})
    local timeline = require("lib.timeline")
    for i = 1, timeline.bound(base) and dropped or 0 do
      timeline.add(base, "e", stamps[i])
    end
    timeline.write(now_ms)
    if not free then
      for _, set in ipairs({"inflight", "postponed", "delayed"}) do
        call("ZREM", base .. set, unpack(members, 1, dropped))
      end
    end
  end
  return dropped
end
