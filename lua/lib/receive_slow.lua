--[[
The uncommon cases of receive_message.lua: something became visible again or was delayed, message groups, messages with
a history, expired or cancelled ones, large records. `r` is the state of the receive (its local function slow_path()).

What waits is handed out in the order in which it became visible. A *line* is what shares one order: the whole queue, or
one message group of a fair queue. It has a list of what was not received yet, and sets (ZSETs) of what became visible
at its score; `serve` merges them.
]]
local message = require("lib.message")
local fair_ring = require("lib.fair_ring")
local large = require("lib.large")
local sorted = require("lib.sorted")

local delivery = {}

local DROPS = 1000 -- so much one call drops, moves to the dead-letter queue or passes over,
local FAIR_DROPS = 400 -- on a fair queue: there it also goes round
local TURNS = 120 -- groups at most, of which it hands out
local FAIR = 100 -- messages at most, and brings
local PROMOTED, INTO = 1000, 75 -- messages of each set to their groups, to so many groups
local STEPS = 160 -- times it changes between the list of a line and its sets, where their messages alternate
local LOOKS = 250 -- members of a set that are read at once after some were dropped

local function count(r, field, by)
  r.counts[field] = (r.counts[field] or 0) + by
end

-- The dead-letter policy, read once.
local function policy(r)
  if r.dlq == nil then
    r.dlq = require("lib.deadletter").policy(r.meta) or false
  end
  return r.dlq
end

-- Shall a message that was received so often go to the dead-letter queue? "wait" = yes, when there is a shard.
local function fate(r, receives)
  local dlq = receives > 0 and policy(r)
  if not dlq or receives < dlq.max_receives then
    return "deliver"
  elseif not dlq.missing then
    return "bury"
  elseif dlq.suspended(r.now_ms) then
    return "deliver"
  end
  r.missing_dlq = dlq.name
  return "wait"
end

-- A message begins a stay: it is received for the first time under this key.
local function deliver(r, key, record)
  local n, member = #r.messages, message.member(key, r.now)
  r.messages[n + 1], r.messages[n + 2], r.messages[n + 3] = member, 0, record
  r.scores[#r.scores + 1], r.scores[#r.scores + 2] = r.score, member
end

-- One message from a list. Returns 1, or 0 if it was not handed out.
local function hand_out(r, line, key, record)
  if line.group ~= "" then
    count(r, "grouped", -1)
  end
  if #key == 25 then -- the tombstone of a cancelled message
    count(r, "tombstones", -1)
  elseif not message.expired(key, r.oldest) then
    local part = #key > 38 and message.parse(key)
    local group = r.paused_groups and line.group == "" and message.group(key) or ""
    if group ~= "" and redis.call("SISMEMBER", r.base .. "paused", group) == 1 then
      fair_ring.push(r.base, group, key, record) -- dead letters stand outside of their groups' lists
      count(r, "grouped", 1)
      require("lib.settings").unsort(r.meta)
    else
      local what = part and fate(r, part.count) or "deliver"
      if what == "deliver" then
        deliver(r, key, record)
        return 1
      elseif what == "bury" then
        r.moves[#r.moves + 1], r.moves[#r.moves + 2], r.moves[#r.moves + 3] = key, "0", record
      else -- as visible again: the next receive names the dead-letter queue to its caller
        local member = message.member(key, r.now)
        redis.call("HSET", r.base .. "store", member, record)
        redis.call("ZADD", r.base .. "inflight", r.now .. "000", member)
      end
    end
  end
  r.drops, line.has_dropped = r.drops - 1, true
  return 0
end

-- Take up to n messages from the list of a line. Returns how many were handed out.
local function serve_list(r, line, n)
  if line.has_dropped then -- more of them may be in front
    local dropped, tombstones = require("lib.drop_expired")(line.list, r.oldest, r.drops)
    r.drops = r.drops - dropped
    count(r, "tombstones", -tombstones)
    if line.group ~= "" then
      count(r, "grouped", -dropped)
    end
    line.has_dropped = false
    if dropped > 0 then
      return 0
    end
  end
  local popped = line.popped -- by the fast path, which cannot hand it out
  line.popped = nil
  if not popped then
    popped = redis.call("LPOP", line.list, string.format("%d", 2 * large.chunk(r.large, n, r.bytes))) or {}
  end
  local handed = 0
  for i = 1, #popped, 2 do
    r.bytes = r.bytes - #popped[i + 1]
    handed = handed + hand_out(r, line, popped[i], popped[i + 1])
  end
  return handed
end

-- The next of what became visible in the sets of a line, in order; empty when there is no more.
local function look(r, line, n)
  local due = {}
  for _, set in ipairs(line.sets) do
    if not set.is_over then
      local found = redis.call("ZRANGEBYSCORE", set.name, "-inf", line.until_score, "WITHSCORES", "LIMIT", set.skip, n)
      set.is_over = #found < 2 * n
      for i = 1, #found, 2 do
        due[#due + 1] = {member = found[i], score = found[i + 1], time = string.sub(found[i + 1], 1, 13), set = set}
      end
    end
  end
  if #line.sets > 1 then
    table.sort(due, function(a, b) return a.time < b.time or a.time == b.time and a.score < b.score end)
    for i = #due, n + 1, -1 do -- looked at again
      due[i].set.is_over = false
      due[i] = nil
    end
  end
  return due
end

-- Hand out what became visible: `due` from `at` on while it is not later than `limit` (nil = whatever its time), up to
-- n messages. Returns how many were handed out and where to go on.
local function serve_due(r, line, due, at, limit, n)
  local chosen, members, ended, gone, handed = {}, {}, {}, {}, 0
  local most = large.chunk(r.large, LOOKS, r.bytes)
  while due[at] and handed < n and #chosen < most and r.drops > 0 and not (limit and due[at].time > limit) do
    local d = due[at]
    at = at + 1
    local receives = tonumber(string.sub(d.score, -3))
    local part = #d.member ~= 37 and message.parse(d.member)
    if message.expired(d.member, r.oldest) then
      d.what = "drop"
    else
      d.what = fate(r, receives + (part and part.count or 0))
    end
    if d.what == "deliver" or d.what == "bury" then
      d.receives = receives
      chosen[#chosen + 1] = d
      members[#members + 1] = d.member
    end
    if d.what == "deliver" then
      handed = handed + 1
    else
      r.drops = r.drops - 1
    end
    if d.what == "wait" then
      d.set.skip = d.set.skip + 1
    elseif d.what ~= "deliver" then
      ended[#ended + 1] = d.member
    end
    if d.what ~= "wait" then
      gone[#gone + 1] = d
    end
  end

  local records = #members > 0 and redis.call("HMGET", r.base .. "store", unpack(members)) or {}
  for i, d in ipairs(chosen) do
    local record = records[i]
    d.stays = false
    r.bytes = r.bytes - (record and #record or 0)
    if not record then -- damaged: nothing to hand out
      if d.what == "deliver" then
        handed, r.drops = handed - 1, r.drops - 1
      end
    elseif d.what == "bury" then
      r.moves[#r.moves + 1], r.moves[#r.moves + 2], r.moves[#r.moves + 3] = d.member, d.receives, record
    else
      local key = d.member
      if d.receives == 999 then -- the score counts no further: the key takes it over
        local part = message.parse(key)
        part.total, part.count = part.total + d.receives, part.count + d.receives
        key, d.receives = message.format(part), 0
        r.left[#r.left + 1] = d.member
      end
      if d.receives == 0 then
        ended[#ended + 1] = d.member
        deliver(r, key, record)
      else
        local m, receives = #r.messages, d.receives + 1
        r.messages[m + 1], r.messages[m + 2], r.messages[m + 3] = d.member, receives, record
        r.scores[#r.scores + 1], r.scores[#r.scores + 2] = string.format("%s%03d", r.deadline, receives), d.member
        d.stays = d.set.name == r.base .. "inflight"
      end
    end
  end

  local removals = {}
  for _, d in ipairs(gone) do
    if d.stays then
      d.set.skip = d.set.skip + 1
    else
      removals[d.set.name] = removals[d.set.name] or {}
      table.insert(removals[d.set.name], d.member)
      if line.is_group then
        count(r, string.sub(d.score, -3) == "000" and "arrived" or "returned", -1)
      end
    end
  end
  if #ended > 0 then
    redis.call("HDEL", r.base .. "store", unpack(ended))
  end
  for name, removed in pairs(removals) do
    redis.call("ZREM", name, unpack(removed))
  end
  return handed, at
end

-- Hand out up to n messages of a line. Returns how many.
local function serve(r, line, n)
  local due, at, handed, steps = {}, 1, 0, STEPS
  while handed < n and r.drops > 0 and r.bytes > 0 do
    if steps == 0 then
      r.has_more = true
      break
    end
    steps = steps - 1
    if not due[at] then
      due, at = look(r, line, line.has_looked and math.max(n, LOOKS) or n), 1
      line.has_looked = true
    end
    local wanted = n - handed
    local first = due[at]
    local ready = first and sorted.count(line.list, function(key) return message.since(key) <= first.time end, wanted)
      or wanted
    if ready > 0 then
      local before, drops = handed, r.drops
      handed = handed + serve_list(r, line, ready)
      if handed == before and r.drops == drops and not first then
        break -- the list is empty
      end
    else
      local head = redis.call("LINDEX", line.list, "0")
      local got
      got, at = serve_due(r, line, due, at, head and message.since(head) or nil, wanted)
      handed = handed + got
    end
  end
  return handed
end

-- What became visible in a set of a fair queue goes to its group.
local function promote(r, name, is_delayed)
  local found = redis.call("ZRANGEBYSCORE", name, "-inf", r.now .. "999", "WITHSCORES", "LIMIT", "0", PROMOTED)
  local groups, order, members, ended = {}, {}, {}, {}
  for i = 1, #found, 2 do
    local member, score = found[i], found[i + 1]
    if message.expired(member, r.oldest) then
      ended[#ended + 1] = member
      r.drops = r.drops - 1
    else
      local group = message.group(member)
      local entries = groups[group]
      if not entries then
        if #order == INTO then
          break
        end
        entries, order[#order + 1] = {}, group
        groups[group] = entries
      end
      entries[#entries + 1], entries[#entries + 2] = score, member
      count(r, string.sub(score, -3) == "000" and "arrived" or "returned", 1)
    end
    members[#members + 1] = member
  end
  if #members > 0 then
    redis.call("ZREM", name, unpack(members))
  end
  if #ended > 0 then
    redis.call("HDEL", r.base .. "store", unpack(ended))
  end
  for _, group in ipairs(order) do
    redis.call("ZADD", fair_ring.again(r.base, group), unpack(groups[group]))
    fair_ring.enter(r.base, group)
  end
  if #found == 0 and is_delayed then
    delivery.forget_delays(r)
  end
  return #found == 2 * PROMOTED or 2 * #members < #found
end

-- Round the ring of message groups.
local function serve_groups(r, n)
  local has_more = promote(r, r.base .. "inflight")
  if r.delays then
    has_more = promote(r, r.base .. "delayed", true) or has_more
  end
  n = math.min(n, FAIR)
  local handed, turns, quantum = 0, TURNS, math.ceil(n / 4)
  while handed < n and turns > 0 and r.drops > 0 and r.bytes > 0 and r.missing_dlq == "" do
    local first = redis.call("ZRANGE", r.base .. "fair_ring", "0", "1")
    local group = first[1]
    if not group then
      break
    end
    local line = {
      group = group,
      is_group = true,
      list = fair_ring.list(r.base, group),
      sets = {{name = fair_ring.again(r.base, group), skip = 0}},
      until_score = "+inf",
    }
    handed = handed + serve(r, line, first[2] and math.min(quantum, n - handed) or n - handed)
    turns = turns - 1
    if redis.call("EXISTS", line.list, line.sets[1].name) == 0 then
      redis.call("ZREM", r.base .. "fair_ring", group)
    elseif first[2] then
      fair_ring.to_end(r.base, group)
    end
  end
  r.has_more = r.has_more or has_more or turns == 0
  return handed
end

-- Nothing is delayed any more: later receives need not look.
function delivery.forget_delays(r)
  if redis.call("EXISTS", r.base .. "delayed") == 0 then
    redis.call("HDEL", r.meta, "delays")
    require("lib.settings").mark(r.meta)
  end
end

-- Receive up to n messages. Afterwards r.has_more says whether the caller shall come again at once if it got none.
function delivery.receive(r, n)
  r.drops, r.bytes, r.moves, r.counts, r.left, r.missing_dlq = DROPS, large.BYTES, {}, {}, {}, ""
  r.has_more = false
  local handed
  if r.fair then
    r.drops = FAIR_DROPS
    handed = serve_groups(r, n)
  else
    local sets = {{name = r.base .. "inflight", skip = 0}}
    if r.delays then
      sets[2] = {name = r.base .. "delayed", skip = 0}
    end
    local line = {group = "", list = r.base .. "ready", sets = sets, until_score = r.now .. "999", popped = r.popped}
    handed = serve(r, line, n)
    if r.delays and handed < n then
      delivery.forget_delays(r)
    end
  end
  r.has_more = handed < n and (r.has_more or r.drops <= 0 or r.bytes <= 0)
  if #r.moves > 0 then
    require("lib.deadletter").move(r.meta, r.moves, r.now_ms)
  end
  require("lib.moved").mark(r.base, r.now_ms, r.left)
  for field, by in pairs(r.counts) do
    if by ~= 0 then
      redis.call("HINCRBY", r.meta, field, by)
    end
  end
end

-- Keep the records of what was received for the first time.
function delivery.keep(r)
  local kept = {}
  for i = 1, #r.messages, 3 do
    if r.messages[i + 1] == 0 then
      kept[#kept + 1], kept[#kept + 2] = r.messages[i], r.messages[i + 2]
    end
  end
  if #kept > 0 then
    redis.call("HSET", r.base .. "store", unpack(kept))
  end
end

-- Delete at once what was received again.
function delivery.settle(r)
  local members = {}
  for i = 1, #r.messages, 3 do
    if r.messages[i + 1] ~= 0 then
      members[#members + 1] = r.messages[i]
    end
  end
  if #members > 0 then
    redis.call("HDEL", r.base .. "store", unpack(members))
    redis.call("ZREM", r.base .. "inflight", unpack(members))
  end
end

-- The answer of the fast path in the form of the slow one.
function delivery.as_messages(fresh)
  local messages = {}
  for i = 1, #fresh, 2 do
    local n = #messages
    messages[n + 1], messages[n + 2], messages[n + 3] = fresh[i], 0, fresh[i + 1]
  end
  return messages
end

-- The saved answer of a receive, with what is refused of the receipts it was to delete.
function delivery.with_refused(reply, refused)
  if refused and type(reply[1]) ~= "number" then
    local topology, now = table.remove(reply, #reply - 1), table.remove(reply)
    reply = {tonumber(now), topology, 0, 0, "", delivery.as_messages(reply)}
  end
  reply[#reply + 1] = refused
  return reply
end

return delivery
