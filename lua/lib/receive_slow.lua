--[[
The slow path of receive_message.lua: something became visible again or was delayed, message groups, messages with a
past, expired or cancelled ones, large records, a pause, a limit. It answers for the whole call, whose ARGV it reads.
A long module: what is decided about a message of a list and of a set has to be read beside each other.

Messages are handed out in the order in which they became visible. A *sequence* has one such order: the whole queue, or
one message group of a fair queue. It has a list of messages that were not received yet, and sets (ZSETs) of messages
that became visible at their scores; serve() merges them.
]]
local message = require("lib.message")
local large = require("lib.large")
local score = require("lib.score")

local DROPS = 1000 -- messages that one call drops, dead-letters or skips at most
local FAIR_DROPS = 400 -- the same on a fair queue, where turns cost calls as well
local TURNS = 120 -- turns of message groups in one call at most
local FAIR = 100 -- messages that one call hands out of a fair queue at most
local PROMOTED = 1000 -- messages that one call moves from a set to their groups at most
local INTO = 75 -- groups that receive them at most
local STEPS = 160 -- times that one call changes between the list of a sequence and its sets at most
local LOOKS = 250 -- members that are read of a set at once after some were dropped

-- With {status ...} of the receipts of which some are refused.
local function with_refused(reply, refused)
  return refused and require("lib.replay").with_refused(reply, refused) or reply
end

local function append(list, a, b, c)
  local n = #list
  list[n + 1], list[n + 2], list[n + 3] = a, b, c
end

local function count(r, field, by)
  r.counts[field] = (r.counts[field] or 0) + by
end

-- Take down in r.stats what becomes of messages (lib/counting.lua).
local function note(r, field, by)
  r.stats[field] = (r.stats[field] or 0) + by
end

-- The fate of a message after a number of receives (lib/deadletter.lua).
local function fate(r, receives)
  if receives == 0 then
    return "deliver"
  end
  if r.dlq == nil then
    r.dlq = require("lib.deadletter").policy(r.base) or false
  end
  local what = not r.dlq and "deliver" or require("lib.deadletter").fate(r.dlq, receives, r.now_ms)
  if what == "wait" then
    r.missing_dlq = r.dlq.name
  elseif what == "dead-letter" then -- as without a dead-letter queue while that is damaged
    if r.dlq.is_damaged == nil then
      r.dlq.is_damaged = require("lib.damaged").arrivals(r.dlq.base, false) ~= nil
    end
    what = r.dlq.is_damaged and "deliver" or what
  end
  return what
end

-- Hand out a message: for the first time under this member (receives = 0, or -1: it does not count yet), or again.
-- `since`: when it became visible.
local function deliver(r, member, receives, record, since)
  append(r.messages, member, receives, record)
  local counted = require("lib.ahead").counted(receives)
  append(r.scores, score.of(r.visible_ms, counted), member)
  if r.has_timeline then
    local with_this = receives < 0 and counted + 1 or counted
    require("lib.timeline").received(r.base, member, with_this, r.acks and 0 or r.visible_ms, since)
  end
end

-- A message has expired.
local function expire(r, key)
  if r.has_timeline then
    require("lib.timeline").add(r.base, "e", key)
  end
end

-- One message from a list. Returns 1, or 0 if it was not handed out.
local function hand_out(r, sequence, key, record)
  if message.is_tombstone(key) then
    count(r, "tombstones", -1)
  elseif not message.is_expired(key, r.oldest) then
    local group = r.paused_groups and sequence.group == "" and message.group(key) or ""
    if group ~= "" and redis.call("SISMEMBER", r.base .. "paused", group) == 1 then
      require("lib.fair_ring").push(r.base, group, key, record) -- dead letters stand outside of their groups' lists
      require("lib.settings").unsort(r.base)
    else
      local what = fate(r, message.may_have_past(key) and message.parse(key).count or 0)
      if what == "deliver" then
        append(r.first_receives, message.since(key))
        deliver(r, message.member(key, r.now), r.is_ahead and -1 or 0, record, message.since(key))
        return 1
      elseif what == "dead-letter" then
        note(r, "dead_u", 1)
        append(r.moves, key, 0, record)
      else -- as visible again: the next receive names the dead-letter queue to its caller
        note(r, "crossed", 1)
        local member = message.member(key, r.now)
        redis.call("HSET", r.base .. "store", member, record)
        redis.call("ZADD", r.base .. "inflight", score.of(r.now_ms, 0), member)
      end
    end
  else
    note(r, "expired_u", 1)
    expire(r, key)
  end
  r.drops, sequence.has_dropped = r.drops - 1, true
  return 0
end

-- Take up to n messages from the list of a sequence. Returns how many were handed out.
local function serve_list(r, sequence, n)
  if sequence.has_dropped then -- more of them may be in front
    local met = r.has_timeline and {}
    local dropped, tombstones = require("lib.drop_expired")(sequence.list, r.oldest, r.drops, met)
    for _, key in ipairs(met or {}) do
      expire(r, key)
    end
    r.drops = r.drops - dropped
    count(r, "tombstones", -tombstones)
    note(r, "expired_u", dropped - tombstones)
    if sequence.group ~= "" then
      count(r, "grouped", -dropped)
    end
    sequence.has_dropped = false
    if dropped > 0 then
      return 0
    end
  end
  local popped = sequence.popped -- by the common path, which cannot hand it out
  sequence.popped = nil
  if not popped then
    popped = redis.call("LPOP", sequence.list, string.format("%d", 2 * large.chunk(r.large, n, r.bytes))) or {}
  end
  local handed = 0
  r.popped, r.popped_from = popped, sequence.list
  for i = 1, #popped, 2 do
    r.popped_at = i
    r.bytes = r.bytes - #popped[i + 1]
    handed = handed + hand_out(r, sequence, popped[i], popped[i + 1])
    if sequence.group ~= "" then
      count(r, "grouped", -1)
    end
  end
  r.popped = nil
  return handed
end

-- The next of what became visible in the sets of a sequence, in order; empty when there is no more.
local function look(sequence, n)
  local due = {}
  for _, set in ipairs(sequence.sets) do
    if not set.is_over then
      local found = redis.call("ZRANGEBYSCORE", set.name, "-inf", sequence.until_score, "WITHSCORES",
        "LIMIT", set.skip, n)
      set.is_over = #found < 2 * n
      for i = 1, #found, 2 do
        due[#due + 1] = {member = found[i], score = found[i + 1], time = score.time(found[i + 1]), set = set}
      end
    end
  end
  if #sequence.sets > 1 then
    table.sort(due, function(a, b) return a.time < b.time or a.time == b.time and a.score < b.score end)
    for i = #due, n + 1, -1 do -- looked at again
      due[i].set.is_over = false
      due[i] = nil
    end
  end
  return due
end

-- Decide about what became visible: `due` from `at` on while it is not later than `limit` (nil = whatever its time), up
-- to n messages to hand out; to a worker, a suspect comes alone (lib/ahead.lua). Returns the members that leave their
-- sets, those of them that are delivered or dead-lettered, and where to go on.
local function choose(r, due, at, limit, n)
  local gone, chosen, delivered = {}, {}, 0
  local most = large.chunk(r.large, LOOKS, r.bytes)
  while due[at] and delivered < n and #chosen < most and r.drops > 0 and not (limit and due[at].time > limit) do
    local d = due[at]
    d.receives = score.receives(d.score)
    if message.is_expired(d.member, r.oldest) then
      d.fate = "drop"
    else
      local earlier = message.may_have_past(d.member) and message.parse(d.member).count or 0
      d.fate = fate(r, d.receives + earlier)
    end
    d.is_suspect = d.fate == "deliver" and r.is_ahead and d.set.name == r.base .. "inflight"
      and require("lib.ahead").is_suspect(r.base, d.member, d.receives)
    if d.is_suspect and delivered + #r.messages > 0 then
      r.is_over = true
      break
    end
    at = at + 1
    if d.fate == "wait" then
      d.set.skip = d.set.skip + 1
    else
      gone[#gone + 1] = d
    end
    if d.fate == "deliver" or d.fate == "dead-letter" then
      chosen[#chosen + 1] = d
    end
    if d.fate == "deliver" then
      delivered = delivered + 1
      r.is_over = d.is_suspect
      most = r.is_over and 0 or most
    else
      r.drops = r.drops - 1
    end
  end
  return gone, chosen, at
end

-- Hand out what became visible, as choose() decides. Returns how many were handed out and where to go on.
local function serve_due(r, sequence, due, from, limit, n)
  local counting = require("lib.counting")
  local gone, chosen, at = choose(r, due, from, limit, n)
  local members, forgotten, handed = {}, {}, 0
  for i, d in ipairs(chosen) do
    members[i] = d.member
  end
  for _, d in ipairs(gone) do
    d.place = counting.place(r.base, d.set.name, d.receives)
    if d.fate == "drop" then
      note(r, "expired_" .. d.place, 1)
      expire(r, d.member)
    end
  end
  local records = #members > 0 and redis.call("HMGET", r.base .. "store", unpack(members)) or {}
  for i, d in ipairs(chosen) do
    local record = records[i]
    r.bytes = r.bytes - (record and #record or 0)
    if not record then -- damaged: nothing to hand out
      r.drops = r.drops - (d.fate == "deliver" and 1 or 0)
      d.is_kept = d.fate == "deliver"
      note(r, "damaged_" .. d.place, 1)
    elseif d.fate == "dead-letter" then
      note(r, "dead_" .. d.place, 1)
      append(r.moves, d.member, d.receives, record)
    else
      local member, receives = d.member, d.receives + 1
      if receives == 1 then
        append(r.first_receives, d.time)
        note(r, "crossed", d.place == "r" and -1 or 0)
      else
        counting.again(r.stats, receives)
        note(r, "crossed", d.place == "u" and 1 or 0)
      end
      if d.is_suspect and d.receives < score.MOST_RECEIVES then
        receives = require("lib.ahead").marked(d.receives)
      elseif d.receives == score.MOST_RECEIVES or r.is_ahead and d.receives > 0 then
        -- The score counts no further, or not yet: the key takes it over.
        member, receives = message.with_receives(member, d.receives), r.is_ahead and -1 or 0
        r.left[#r.left + 1] = d.member
      elseif d.receives == 0 then -- a new delivery cycle
        member, receives = message.member(member, r.now), r.is_ahead and -1 or 0
      end
      deliver(r, member, receives, record, d.time)
      d.is_kept = receives > 0 or receives < -1
      d.stays = d.is_kept and d.set.name == r.base .. "inflight"
      handed = handed + 1
    end
  end

  local removals = {}
  for _, d in ipairs(gone) do
    if d.stays then
      d.set.skip = d.set.skip + 1
    else
      removals[d.set.name] = removals[d.set.name] or {}
      table.insert(removals[d.set.name], d.member)
      if sequence.is_group then
        count(r, score.counter(d.score), -1)
      end
    end
    if not d.is_kept then
      forgotten[#forgotten + 1] = d.member
    end
  end
  if #forgotten > 0 then
    redis.call("HDEL", r.base .. "store", unpack(forgotten))
  end
  for name, removed in pairs(removals) do
    redis.call("ZREM", name, unpack(removed))
  end
  return handed, at
end

-- Hand out up to n messages of a sequence. Returns how many.
local function serve(r, sequence, n)
  local due, at, handed, steps = {}, 1, 0, STEPS
  while handed < n and r.drops > 0 and r.bytes > 0 and not r.is_over do
    if steps == 0 then
      r.has_more = true
      break
    end
    steps = steps - 1
    if not due[at] then
      due, at = look(sequence, sequence.has_looked and math.max(n, LOOKS) or n), 1
      sequence.has_looked = true
    end
    local wanted = n - handed
    local first = due[at]
    local ready = wanted
    if first then
      local count_before = require("lib.sorted").count
      ready = count_before(sequence.list, function(key) return message.since(key) <= first.time end, wanted)
    end
    if ready > 0 then
      local before, drops = handed, r.drops
      handed = handed + serve_list(r, sequence, ready)
      if handed == before and r.drops == drops and not first then
        break -- the list is empty
      end
    else
      local head = redis.call("LINDEX", sequence.list, "0")
      local got
      got, at = serve_due(r, sequence, due, at, head and message.since(head) or nil, wanted)
      handed = handed + got
    end
  end
  return handed
end

-- Move messages that became visible from a set of a fair queue to their groups. Returns whether there is more.
local function promote(r, name)
  local found = redis.call("ZRANGEBYSCORE", r.base .. name, "-inf", score.highest(r.now), "WITHSCORES",
    "LIMIT", "0", PROMOTED)
  local groups, order, members, expired = {}, {}, {}, {}
  for i = 1, #found, 2 do
    local member, at = found[i], found[i + 1]
    local place = name == "inflight" and "r" or "u"
    if message.is_expired(member, r.oldest) then
      expired[#expired + 1] = member
      note(r, "expired_" .. place, 1)
      expire(r, member)
      r.drops = r.drops - 1
    else
      local group = message.group(member)
      if not groups[group] then
        if #order == INTO then
          break
        end
        groups[group], order[#order + 1] = {}, group
      end
      append(groups[group], at, member)
      local counter = score.counter(at)
      count(r, counter, 1)
      if place == "r" and counter == "arrived" then
        note(r, "crossed", -1)
      elseif place == "u" and counter == "returned" then
        note(r, "crossed", 1)
      end
    end
    members[#members + 1] = member
  end
  local fair_ring = require("lib.fair_ring")
  for _, group in ipairs(order) do
    redis.call("ZADD", fair_ring.again(r.base, group), unpack(groups[group]))
    fair_ring.enter(r.base, group)
  end
  if #members > 0 then -- only now: a key of another type may have ended the call before
    redis.call("ZREM", r.base .. name, unpack(members))
  end
  if #expired > 0 then
    redis.call("HDEL", r.base .. "store", unpack(expired))
  end
  return #found == 2 * PROMOTED or 2 * #members < #found
end

-- Round the ring of message groups. Returns how many were handed out.
local function serve_groups(r, n)
  local fair_ring = require("lib.fair_ring")
  n = math.min(n, FAIR)
  local handed, turns, quantum = 0, TURNS, math.ceil(n / 4)
  while handed < n and turns > 0 and r.drops > 0 and r.bytes > 0 and r.missing_dlq == "" do
    local group, other = unpack(redis.call("ZRANGE", r.base .. "fair_ring", "0", "1"))
    if not group then
      break
    end
    local list, again = fair_ring.list(r.base, group), fair_ring.again(r.base, group)
    local sequence = {
      group = group, is_group = true, list = list, sets = {{name = again, skip = 0}}, until_score = "+inf",
    }
    handed = handed + serve(r, sequence, other and math.min(quantum, n - handed) or n - handed)
    turns = turns - 1
    if redis.call("EXISTS", list, again) == 0 then
      redis.call("ZREM", r.base .. "fair_ring", group)
    elseif other then
      fair_ring.to_end(r.base, group)
    end
  end
  r.has_more = r.has_more or turns == 0
  return handed
end

-- Put back what was taken from a list and not looked at yet.
local function put_back(r)
  for i = #(r.popped or {}) - 1, r.popped_at, -2 do
    redis.call("LPUSH", r.popped_from, r.popped[i + 1], r.popped[i])
  end
end

-- Take up to n messages into r.messages and r.scores. Returns what broke it off, if something did: a key of another
-- type. What was taken before that is to be handed out all the same.
local function take(r, n)
  local is_done, handed
  if r.fair then
    r.drops = FAIR_DROPS
    r.has_more = promote(r, "inflight")
    r.has_more = r.has_delayed and promote(r, "delayed") or r.has_more
    is_done, handed = pcall(serve_groups, r, n)
  else
    local sets = {{name = r.base .. "inflight", skip = 0}}
    if r.has_delayed then
      sets[2] = {name = r.base .. "delayed", skip = 0}
    end
    is_done, handed = pcall(serve, r, {
      group = "", list = r.base .. "ready", sets = sets, until_score = score.highest(r.now), popped = r.popped,
    }, n)
  end
  if not is_done then
    put_back(r)
    return handed
  end
  r.has_more = handed < n and (r.has_more or r.is_over or r.drops <= 0 or r.bytes <= 0)
  return nil
end

-- Write down what became of messages, once those that are handed out are kept.
local function settle(r)
  if r.has_delayed then
    require("lib.settings").forget_delays(r.base, r.base .. "delayed")
  end
  if #r.moves > 0 then
    require("lib.deadletter").move(r.base, r.moves, r.now_ms)
  end
  if #r.left > 0 then
    require("lib.moved").mark(r.base, r.now_ms, r.left)
  end
  for field, by in pairs(r.counts) do
    if by ~= 0 then
      redis.call("HINCRBY", r.meta, field, by)
    end
  end
  if r.first_receives[1] then
    pcall(require("lib.first_receives"), r.base, r.now_ms, r.first_receives, 1)
  end
  if next(r.stats) then
    require("lib.counting").add(r.base, r.stats)
  end
end

-- Keep what was handed out in flight, or (ack) delete it at once: what was received before is there already.
local function keep(r, acks)
  local fresh, again = {}, {}
  for i = 1, #r.messages, 3 do
    local member, receives, record = r.messages[i], r.messages[i + 1], r.messages[i + 2]
    if receives == 0 or receives == -1 then
      append(fresh, member, record)
    else
      again[#again + 1] = member
    end
  end
  if acks and #again > 0 then
    redis.call("HDEL", r.base .. "store", unpack(again))
    redis.call("ZREM", r.base .. "inflight", unpack(again))
  elseif not acks then
    if #fresh > 0 then
      redis.call("HSET", r.base .. "store", unpack(fresh))
    end
    redis.call("ZADD", r.base .. "inflight", unpack(r.scores))
  end
end

-- `r` is what the script knows of the call; what the functions above share is added to it.
return function(r)
  local slot, number, n, acks = KEYS[1], ARGV[1], tonumber(ARGV[3]), r.acks
  local wait, waiter = string.match(ARGV[5], "^(%S*) ?(.*)$")
  local has_waited = string.find(wait, "^%d") ~= nil -- then it may have a duty
  local function nothing(why, missing_dlq)
    local nothing_received = require("lib.wakeups").nothing_received
    return with_refused(nothing_received(r.base, r.topology, r.now_ms, wait, waiter, nil, why, missing_dlq), r.refused)
  end
  if r.flight_limit then
    -- a caller that waits gets no error, not even in the end, and one that deletes has been served
    if not ARGV[6] and not has_waited and require("lib.wakeups").wait_until(r.base, wait, r.now_ms) <= r.now_ms then
      return redis.error_reply("OVER_LIMIT " .. r.flight_limit)
    end
    return nothing("limited")
  elseif r.paused then
    return nothing("paused")
  end

  r.messages, r.scores, r.missing_dlq, r.has_more = {}, {}, "", false -- the result
  r.moves, r.left = {}, {} -- dead letters; left under another key
  r.counts, r.stats = {}, {} -- changes of counters in meta, and of those in `stats`
  r.first_receives = {} -- since when those messages waited
  r.drops, r.bytes = DROPS, large.BYTES -- what may be done still
  r.popped_from, r.popped_at = r.base .. "ready", 1 -- where r.popped is from, and what of it is left
  local store = redis.pcall("HLEN", r.base .. "store")
  if type(store) == "table" then -- of another type: nothing could be kept there
    put_back(r)
    return store
  end
  local slots = require("lib.ahead").slots()
  r.is_ahead, r.is_over = slots and not r.fair, false -- a suspect came, or would be the next one
  local problem = take(r, slots and r.fair and math.min(slots, n) or n)
  if #r.messages > 0 then
    keep(r, acks)
  end
  settle(r)
  if problem and #r.messages == 0 then
    return require("lib.damaged").caught(problem)
  end
  if r.has_timeline then
    require("lib.timeline").hand_out(r.base, r.now_ms, r.messages, 3, acks)
  end
  if r.large or r.unsorted then
    local base = r.base
    local keys = #r.messages == 0 and {base .. "ready", base .. "store", base .. "fair_ring"} or nil
    require("lib.settings").forget_contents(base, r.now_ms, r.emptied, keys)
  end
  if #r.messages == 0 then
    return nothing((r.has_more or r.missing_dlq ~= "") and "again" or nil, r.missing_dlq)
  end
  if has_waited then
    require("lib.wakeups").leave(r.base, waiter)
  end
  if redis.call("EXISTS", r.base .. "wakeups") == 0 then
    require("lib.wake_next")(r.base, r.now_ms, false)
  end
  local reply, idempotency = {r.now_ms, r.topology, 0, 0, r.missing_dlq, r.messages}, require("lib.idempotency")
  if acks then
    idempotency.save(slot, number, "=" .. cmsgpack.pack(reply))
  else
    if r.messages[2] < -1 then
      r.scores[3] = "suspect"
    end
    idempotency.save(slot, number, #r.scores == 2 and r.scores[1] .. r.scores[2] or cmsgpack.pack(r.scores))
  end
  return with_refused(reply, r.refused)
end
