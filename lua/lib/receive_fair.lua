--[[
The common receive of a fair queue: nothing is due or out of the ordinary, and what the groups hand out was never
received. Who is served, how much and in which order is as in lib/receive_slow.lua. Without a reply, all is as it was:
that other path has to look.
]]
local call, try = redis.call, redis.pcall
local MOST = 100 -- messages that one call hands out
local ID = 24 -- characters of the id that a key begins with (lib/message.lua)
local SLOT_MS = "120000" -- lib/idempotency.lua

-- Put back what was taken: the list, then key, record ... of each turn.
local function put_back(taken)
  for turn = #taken, 1, -2 do
    local popped, back = taken[turn], {}
    for i = #popped, 1, -1 do
      back[#back + 1] = popped[i]
    end
    call("LPUSH", taken[turn - 1], unpack(back))
  end
  return nil
end

-- `r` is what the script knows of the call.
return function(r)
  local base, now, now_ms = r.base, r.now, r.now_ms
  local n = math.min(r.count, MOST)
  local ring = base .. "fair_ring"
  local wait, waiter = string.match(r.wait, "^(%S*) ?(.*)$")
  local groups = try("ZRANGE", ring, "0", n) -- each has a message, so no call needs more; the last one only follows
  if groups.err then
    return nil
  elseif #groups == 0 then
    return require("lib.wakeups").nothing_received(base, r.topology, now_ms, wait, waiter)
  end

  local score, quantum = string.format("%d001", r.visible_ms), math.ceil(n / 4) -- lib/score.lua
  local taken, messages, records, scores = {}, {}, {}, {}
  local stay, gone, returned = {}, {}, {} -- groups with more messages, and without; what came back to those
  local handed, grouped, longest, shortest, at = 0, 0, 0, math.huge, 1
  while handed < n and groups[at] do
    local group, want, has_other = groups[at], n - handed, groups[at + 1]
    if has_other and want > quantum then
      want = quantum
    end
    local list, again, behind = base .. "ready", base .. "again:" .. group, ""
    if group ~= "" then
      list, behind = base .. "group:" .. group, "@" .. group
    end
    local popped = try("LPOP", list, 2 * want)
    if not popped or popped.err then
      return put_back(taken)
    end
    local size, length = #popped, ID + #behind
    taken[#taken + 1], taken[#taken + 2] = list, popped
    behind = now .. behind
    for i = 1, size, 2 do
      local key, record = popped[i], popped[i + 1]
      if #key ~= length then -- with a past, of another group, or a tombstone
        return put_back(taken)
      end
      local member, m = string.sub(key, 1, ID) .. behind, 2 * handed + i
      records[m], records[m + 1] = member, record
      scores[m], scores[m + 1] = score, member
      m = #messages
      messages[m + 1], messages[m + 2], messages[m + 3] = member, 0, record
    end
    local waited = now_ms - (tonumber(string.sub(popped[1], 1, 13)) or 0) -- the longest of this turn
    if waited > r.retention_ms then -- it has expired
      return put_back(taken)
    end
    longest = waited > longest and waited or longest
    if size > 2 then
      waited = now_ms - (tonumber(string.sub(popped[size - 1], 1, 13)) or 0)
    end
    shortest = waited < shortest and waited or shortest
    handed, grouped = handed + size / 2, grouped + (group ~= "" and size / 2 or 0)
    if size < 2 * want then
      gone[#gone + 1], returned[#returned + 1] = group, again
    else
      local left = call("EXISTS", list, again, again)
      if left > 1 then -- messages came back to it
        return put_back(taken)
      elseif left == 0 then
        gone[#gone + 1] = group
      elseif has_other then
        stay[#stay + 1], groups[#groups + 1] = group, group
      end
    end
    at = at + 1
  end
  if returned[1] and call("EXISTS", unpack(returned)) > 0 then
    return put_back(taken)
  end

  local kept = try("HSET", base .. "store", unpack(records))
  if type(kept) == "table" then -- of another type
    return put_back(taken)
  end
  call("ZADD", base .. "inflight", unpack(scores))
  local saved = handed == 1 and score .. scores[2] or cmsgpack.pack(scores) -- lib/replay.lua
  call("SET", r.slot, saved .. r.number, "PX", SLOT_MS)
  if stay[1] then -- behind all others, in the order of their turns
    local last, places = call("ZRANGE", ring, "-1", "-1", "WITHSCORES")[2], {}
    for i, group in ipairs(stay) do
      places[2 * i - 1], places[2 * i] = string.format("%d", last + i), group
    end
    call("ZADD", ring, "XX", unpack(places))
  end
  if gone[1] then
    call("ZREM", ring, unpack(gone))
  end
  if grouped > 0 then
    call("HINCRBY", r.meta, "grouped", -grouped)
  end

  local _, power = math.frexp(longest > 0 and longest or 0) -- dwell times, as in receive_message.lua
  local _, least_power = math.frexp(shortest > 0 and shortest or 0)
  if power == least_power then
    try("HINCRBY", base .. "stats", string.char(64 + power), handed)
  else
    pcall(require("lib.first_receives"), base, now_ms, messages, 3)
  end
  if string.find(wait, "^%d") then -- it has waited before: it may have a duty
    require("lib.wakeups").leave(base, waiter)
  end
  if call("EXISTS", base .. "wakeups") == 0 then -- a waiter may be blocked
    require("lib.wake_next")(base, now_ms, false)
  end
  return {now_ms, r.topology, 0, 0, "", messages}
end
