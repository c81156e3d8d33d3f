-- hot
-- Delete messages of a FIFO queue: key, group, receives of each from ARGV[first] on. Returns a status for each (1
-- deleted, 0 was gone, -1 the receipt has expired), how many were deleted, and whether a group became available.
-- `is_done`: they were deleted before, by the call that this one repeats; what is there still was not to be deleted.
return function(base, now_us, strict, first, is_done)
  local call, now = redis.call, string.sub(now_us, 1, 13)
  local inflight, states = base .. "inflight", base .. "state"
  local reply, groups, members, stamps, visible = {}, {}, {}, {}, false

  for i = first, #ARGV, 3 do
    local key, group = ARGV[i], ARGV[i + 1]
    local stamp = #key == 16 and key or string.sub(key, 1, 16)
    local member = stamp .. group
    local score = not members[member] and call("ZSCORE", inflight, member)
    local status = 0
    if score then
      local receives = tonumber(ARGV[i + 2])
      local same = tonumber(string.sub(score, -3)) == math.min(receives, 999)
      if same and receives >= 999 then -- the score counts no further
        same = string.match(call("HGET", states, stamp) or "", "^%d+") == ARGV[i + 2]
      end
      status = same and not is_done and (not strict or string.sub(score, 1, -4) > now) and 1 or -1
    elseif not members[member] then
      local state = call("HGET", states, stamp)
      if state then
        status = not strict and not is_done and string.match(state, "^%d+") == ARGV[i + 2] and 1 or -1
      elseif require("lib.moved").has(base, stamp) then
        status = -1
      end
    end
    if status == 1 then
      members[member] = true
      members[#members + 1] = member
      stamps[#stamps + 1] = stamp
      local of_group = groups[group]
      if not of_group then
        groups[#groups + 1] = group
        groups[group] = {key}
      else
        of_group[#of_group + 1] = key
      end
    end
    reply[#reply + 1] = status
  end

  local deleted = #members
  if deleted > 0 then
    for i = 1, #groups do
      local keys = groups[groups[i]]
      local list = base .. "group:" .. groups[i]
      if keys[2] then
        require("lib.remove_from_group")(base, list, groups[i], keys)
      else
        local head = call("LPOP", list, "2")
        if not head or head[1] ~= keys[1] then -- not the first of those in flight
          if head then
            call("LPUSH", list, head[2], head[1])
          end
          require("lib.remove_from_group")(base, list, groups[i], keys)
        end
      end
    end
    call("ZREM", inflight, unpack(members))
    call("HDEL", states, unpack(stamps))
    call("HINCRBY", base .. "meta", "messages", -deleted)
    for i = 1, #groups do
      if require("lib.make_available")(base, groups[i], now_us) then
        visible = true
      elseif not strict then -- its head may have been visible
        call("ZREM", base .. "available", groups[i])
      end
    end
  end
  return reply, deleted, visible
end
