-- hot
-- Delete messages of a FIFO queue: key, group, receives of each from ARGV[first] on. Returns a status for each (1
-- deleted, 0 was gone, -1 the receipt has expired), how many were deleted, and whether a group became available.
-- `now_us` may be "" if not strict. `is_done`: they were deleted before, by the call that this one repeats; what is
-- there still was not to be deleted. Stamps and scores are cut as lib/fifo_key.lua and lib/score.lua do.
--
-- If a key has another type: nothing is done without `inflight` and `state`. It passes over all others, in which there
-- is nothing to be deleted.
return function(base, inflight, states, now_us, is_strict, first, is_done)
  local call = redis.call
  local make_available, meta = require("lib.make_available"), base .. "meta"
  if not ARGV[first + 3] and not is_strict and not is_done then -- the common case: one message, the first of its group
    local key, group, receives = ARGV[first], ARGV[first + 1], ARGV[first + 2]
    local stamp = #key == 16 and key or string.sub(key, 1, 16)
    local member, list = stamp .. group, base .. "group:" .. group
    local score = call("ZSCORE", inflight, member)
    if score and #receives < 3 and string.sub(score, -3) + 0 == receives + 0 then
      local entries = redis.pcall("LPOP", list, "2") -- who may not (ACL) is refused below
      if entries and entries[1] == key then
        if type(redis.pcall("HDEL", states, stamp)) == "table" then
          call("LPUSH", list, entries[2], entries[1])
          call("HDEL", states, stamp) -- raises the error
        end
        call("ZREM", inflight, member)
        redis.pcall("HINCRBY", meta, "messages", "-1")
        return {1}, 1, make_available(base, group, now_us, list, states)
      elseif entries and entries[1] then
        call("LPUSH", list, entries[2], entries[1])
      end
    end
  end

  local named, statuses = {}, {}
  local marked -- positions of receipts with a mark, which is taken off (lib/timeline.lua)
  for i = first, #ARGV, 3 do
    local key = ARGV[i]
    if #key ~= 16 then
      if string.byte(key) == 126 then
        key = string.sub(key, 2)
        marked, ARGV[i] = marked or {}, key
        marked[#named + 1] = true
      end
      key = string.sub(key, 1, 16)
    end
    named[#named + 1] = key .. ARGV[i + 1]
  end
  local scores = call("ZMSCORE", inflight, unpack(named))
  local groups, members, stamps = {}, {}, {} -- `groups` also: group -> keys; `members`: member -> true
  local were_visible = {} -- groups that may be available already
  for n = 1, #named do
    local i, member, score, status = first + 3 * n - 3, named[n], scores[n], 0
    local key, group, receives = ARGV[i], ARGV[i + 1], ARGV[i + 2]
    local stamp = #key == 16 and key or string.sub(key, 1, 16)
    if members[member] then
      status = 0 -- named twice
    elseif score then
      local is_latest = string.sub(score, -3) + 0 == receives + 0
      if receives + 0 >= 999 then -- the score counts no further
        is_latest = string.match(call("HGET", states, stamp) or "", "^%d+") == receives
      end
      local is_open = not is_strict or string.sub(score, 1, -4) > string.sub(now_us, 1, 13)
      status = is_latest and is_open and not is_done and 1 or -1
    else
      local state = call("HGET", states, stamp)
      if state then
        status = not is_strict and not is_done and string.match(state, "^%d+") == receives and 1 or -1
        were_visible[group] = true
      elseif require("lib.moved").has(base, stamp) then
        status = -1
      end
    end
    if status == 1 then
      members[member] = true
      members[#members + 1], stamps[#stamps + 1] = member, stamp
      if marked and marked[n] then
        require("lib.timeline").add(base, "k", stamp, "")
      end
      local keys = groups[group]
      if keys then
        keys[#keys + 1], keys[key] = key, true
      else
        groups[#groups + 1], groups[group] = group, {key, [key] = true}
      end
    end
    statuses[n] = status
  end
  if not members[1] then
    return statuses, 0, false
  end

  call("HDEL", states, unpack(stamps))
  call("ZREM", inflight, unpack(members))
  redis.pcall("HINCRBY", meta, "messages", -#members)
  local lists, large = {}, #groups < #members and call("HGET", meta, "large")
  for i = 1, #groups do
    local keys, list = groups[groups[i]], base .. "group:" .. groups[i]
    lists[i] = list
    -- They are the first of the group, most of the time. Large records are not worth a try: they pass through here.
    local entries = not (large and keys[2]) and redis.pcall("LPOP", list, 2 * #keys)
    local is_right = entries and #entries == 2 * #keys
    for e = 1, is_right and #entries or 0, 2 do
      is_right = is_right and keys[entries[e]]
    end
    if not is_right and not (entries and entries.err) then
      if entries then -- back to where they were
        local backwards = {}
        for e = #entries, 1, -1 do
          backwards[#backwards + 1] = entries[e]
        end
        call("LPUSH", list, unpack(backwards))
      end
      require("lib.remove_from_group")(base, list, groups[i], keys)
    end
  end

  local visible, are_empty = false, lists[2] and call("EXISTS", unpack(lists)) == 0
  for i = 1, #groups do
    if not are_empty and make_available(base, groups[i], now_us, lists[i], states) then
      visible = true
    elseif were_visible[groups[i]] then
      redis.pcall("ZREM", base .. "available", groups[i])
    end
  end
  if marked then
    require("lib.timeline").write(tonumber(string.sub(now_us, 1, 13)))
  end
  return statuses, #members, visible
end
