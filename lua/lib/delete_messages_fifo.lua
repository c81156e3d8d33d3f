-- hot
-- Delete messages of a FIFO queue: key, group, receives of each from ARGV[first] on. Returns a status for each (1
-- deleted, 0 was gone, -1 the receipt has expired), how many were deleted, and whether a group became available.
-- `is_done`: they were deleted before, by the call that this one repeats; what is there still was not to be deleted.
-- Stamps and scores are cut as lib/fifo_key.lua and lib/score.lua do.
return function(base, now_us, is_strict, first, is_done)
  local call, now = redis.call, string.sub(now_us, 1, 13)
  local inflight, states = base .. "inflight", base .. "state"
  local statuses, groups, members, stamps, visible = {}, {}, {}, {}, false
  local scores -- of all, if there are several
  if ARGV[first + 3] then
    local named = {}
    for i = first, #ARGV, 3 do
      named[#named + 1] = string.sub(ARGV[i], 1, 16) .. ARGV[i + 1]
    end
    scores = call("ZMSCORE", inflight, unpack(named))
  end

  for i = first, #ARGV, 3 do
    local key, group, receives = ARGV[i], ARGV[i + 1], ARGV[i + 2]
    local stamp = #key == 16 and key or string.sub(key, 1, 16)
    local member = stamp .. group
    local score
    if not members[member] then
      score = scores and scores[#statuses + 1] or not scores and call("ZSCORE", inflight, member)
    end
    local status = 0
    if score then
      local n = tonumber(receives)
      local is_latest = tonumber(string.sub(score, -3)) == n
      if n >= 999 then -- the score counts no further
        is_latest = string.match(call("HGET", states, stamp) or "", "^%d+") == receives
      end
      status = is_latest and not is_done and (not is_strict or string.sub(score, 1, -4) > now) and 1 or -1
    elseif not members[member] then
      local state = call("HGET", states, stamp)
      if state then
        status = not is_strict and not is_done and string.match(state, "^%d+") == receives and 1 or -1
      elseif require("lib.moved").has(base, stamp) then
        status = -1
      end
    end
    if status == 1 then
      members[member] = true
      members[#members + 1] = member
      stamps[#stamps + 1] = stamp
      local keys = groups[group]
      if keys then
        keys[#keys + 1] = key
      else
        groups[#groups + 1] = group
        groups[group] = {key}
      end
    end
    statuses[#statuses + 1] = status
  end
  if #members == 0 then
    return statuses, 0, false
  end

  for i = 1, #groups do
    local keys, list = groups[groups[i]], base .. "group:" .. groups[i]
    local head = not keys[2] and call("LPOP", list, "2")
    if not head or head[1] ~= keys[1] then -- several, or not the first of those in flight
      if head then
        call("LPUSH", list, head[2], head[1])
      end
      require("lib.remove_from_group")(base, list, groups[i], keys)
    end
  end
  call("ZREM", inflight, unpack(members))
  call("HDEL", states, unpack(stamps))
  call("HINCRBY", base .. "meta", "messages", -#members)
  for i = 1, #groups do
    if require("lib.make_available")(base, groups[i], now_us) then
      visible = true
    elseif not is_strict then -- its head may have been visible
      call("ZREM", base .. "available", groups[i])
    end
  end
  return statuses, #members, visible
end
