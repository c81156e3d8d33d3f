-- Append the messages of send_message.lua, whose ARGV these are, to the lists of a fair queue's groups
-- (lib/fair_ring.lua), none of which is paused; `stride`: arguments of a message, 2 = they have no group. All of them,
-- or none: then it returns the error, as a key has another type.
local call, try = redis.call, redis.pcall

-- The first `n` of some groups get back the lists they had.
local function take_back(names, entries, n, meta, grouped)
  for at = 1, n do
    call("RPOP", names[at], #entries[at])
  end
  if grouped > 0 then
    call("HINCRBY", meta, "grouped", -grouped)
  end
end

return function(base, now_us, stride)
  local argv, ring, meta = ARGV, base .. "fair_ring", base .. "meta"
  local groups, names, entries, place = {}, {}, {}, {}
  for i = 3, #argv, stride do
    local group, behind = stride == 6 and argv[i + 3] or "", ""
    if group ~= "" then
      behind = "@" .. group
    end
    local at = place[group]
    if not at then
      at = #groups + 1
      place[group], groups[at], entries[at] = at, group, {}
      names[at] = base .. (group == "" and "ready" or "group:" .. group)
    end
    local some = entries[at]
    local n = #some
    some[n + 1], some[n + 2] = now_us .. argv[i] .. behind, argv[i + 1]
  end

  local new, grouped = {}, 0
  for at, some in ipairs(entries) do
    local length = try("RPUSH", names[at], unpack(some))
    if type(length) == "table" then
      take_back(names, entries, at - 1, meta, 0)
      return length
    end
    if length == #some then
      new[#new + 1] = groups[at]
    end
    grouped = grouped + (groups[at] ~= "" and #some / 2 or 0)
  end
  local counted = grouped > 0 and try("HINCRBY", meta, "grouped", grouped)
  if type(counted) == "table" then
    take_back(names, entries, #entries, meta, 0)
    return counted
  end
  if new[1] then
    local last, places = try("ZRANGE", ring, "-1", "-1", "WITHSCORES"), {}
    if last.err then
      take_back(names, entries, #entries, meta, grouped)
      return last
    end
    last = last[2] or -1
    for i, group in ipairs(new) do
      places[2 * i - 1], places[2 * i] = string.format("%d", last + i), group
    end
    call("ZADD", ring, "NX", unpack(places))
  end
  return nil
end
