--[[
The slow path of receive_message_fifo.lua, whose KEYS and ARGV these are: limits, pauses, repetitions, attempts,
deletion at once, what became visible; and groups with messages that were received before, delayed, expired, are dead
letters or in flight further on. `r` is what the script knows of the call; what the functions share is added to it.
r.messages (key, group, record ...), r.scores and r.states have what common groups gave. r.odd is the first other one,
if there is one; r.popped (group, since ...) has it and all that were popped.
]]
local fifo_key = require("lib.fifo_key")
local counting = require("lib.counting")
local fifo = require("lib.fifo")

local EXPIRED = 100 -- messages that one call lets become visible, of each set

-- Read up to n messages of a group from its head on: key, record ..., and of each its stamp, member, state, and score
-- if it is in flight. The states have an `err` if the list or they are damaged.
local function read(r, group, n)
  local list = fifo.list(r.base, group)
  local entries = not r.large and redis.pcall("LRANGE", list, "0", 2 * n - 1)
  if not entries then
    entries, r.room, r.steps = require("lib.large").range(r.large, list, n, r.room, r.steps)
  end
  r.steps = r.steps - 4 -- ZPOPMIN, LRANGE, HMGET, ZMSCORE
  local stamps, members = {}, {}
  for i = 1, #entries, 2 do
    local stamp = fifo_key.stamp(entries[i])
    stamps[#stamps + 1], members[#members + 1] = stamp, stamp .. group
  end
  local states = entries.err and entries or stamps[1] and redis.pcall("HMGET", r.base .. "state", unpack(stamps)) or {}
  local flights = stamps[2] and redis.call("ZMSCORE", r.base .. "inflight", unpack(members)) or {} -- a head is not
  return entries, stamps, members, states, flights
end

-- Take down in r.stats what becomes of messages (lib/counting.lua).
local function note(r, field, by)
  r.stats[field] = (r.stats[field] or 0) + by
end

-- Hand out a message in whose state n, first, available_us and b stand (n = 0: it has none).
local function deliver(r, group, key, record, member, n, first, available_us, b)
  local score, state, history = r.first_score, r.first_state, ""
  if n > 0 then
    score, state = require("lib.score").of(r.visible_ms, n + 1), fifo.state(n + 1, first, r.now_us, b)
    history = fifo.state(n + 1, first, r.now, b)
  end
  if n == b then
    counting.dwell(r.stats, r.now_ms, fifo_key.visible_at_ms(key, r.delay_ms))
    note(r, "crossed", n > 0 and -1 or 0) -- returned unbegun: it is received already
  else
    counting.again(r.stats, n - b + 1)
  end
  if r.has_timeline then
    local since = n > b and string.sub(available_us, 1, 13) or fifo_key.visible_at_ms(key, r.delay_ms)
    require("lib.timeline").received(r.base, key, n - b + 1, r.acks and 0 or r.visible_ms, since)
  end
  local at = #r.messages
  r.messages[at + 1], r.messages[at + 2], r.messages[at + 3], r.messages[at + 4] = key, group, history, record
  r.delivered = r.delivered + 1
  if not r.acks then
    r.states[#r.states + 1], r.states[#r.states + 2] = fifo_key.stamp(key), state
    if r.visibility_ms > 0 then
      r.scores[#r.scores + 1], r.scores[#r.scores + 2] = score, member
    end
  end
end

local function is_delayed(r, key, member)
  r.steps = r.steps - 1
  return fifo_key.is_delayed(r.base, key, member)
end

-- The fate of a message after a number of receives (lib/deadletter.lua); "stay" if the dead-letter queue is damaged.
local function fate(r, group, receives)
  if r.dlq == nil then
    r.dlq, r.steps = require("lib.deadletter").policy(r.base) or false, r.steps - 2
  end
  local what = require("lib.deadletter").fate(r.dlq, receives, r.now_ms)
  if what == "dead-letter" then
    r.refused, r.steps = require("lib.damaged").arrivals(r.dlq.base, true, group), r.steps - 3
  end
  return r.refused and "stay" or what
end

-- Hand out up to n messages of a group. Returns whether its next message can perhaps be received at once, as no message
-- of it is in flight. It may name a dead-letter queue that has no shard here, as r.missing_dlq, or what is damaged, as
-- r.refused: then the group stays.
local function serve(r, group, n)
  local entries, stamps, members, states, flights = read(r, group, n)
  if states.err then
    r.refused = states
    return false
  end
  if entries[1] and not flights[1] and fifo_key.is_expired(entries[1], r.oldest) then
    local most = math.max(1, math.min(r.steps, 1000))
    local dropped = require("lib.drop_expired_fifo")(r.base, group, r.oldest, most, true, r.now_ms)
    r.removed, r.steps = r.removed + dropped, r.steps - dropped - 11
    return dropped > 0
  end

  local list, delivered, letters, is_stopped = fifo.list(r.base, group), r.delivered, {}, false
  local gone, at_head, kept = {}, 0, 0
  local function remove(stamp) -- those at the head leave the list in the end, all at once
    gone[#gone + 1] = stamp
    if kept == 0 then
      at_head = at_head + 1
    else
      fifo.remove_at(list, at_head + kept)
      r.steps = r.steps - 3
    end
  end

  for i = 1, #stamps do
    local key, record, stamp = entries[2 * i - 1], entries[2 * i], stamps[i]
    local received, first, since, b = 0, r.now, nil, 0
    if states[i] then
      local known_first
      received, known_first, since, b = fifo.parse(states[i])
      first = received > b and known_first or r.now
    end
    if r.steps <= 0 and i > 1 then -- enough for one call
      break
    end
    if flights[i] or key ~= stamp and is_delayed(r, key, members[i]) then
      is_stopped = true
      break
    end
    local what = received > b and fate(r, group, received - b) or "deliver"
    if fifo_key.is_expired(key, r.oldest) then
      remove(stamp)
      note(r, states[i] and "expired_r" or "expired_u", 1)
      if r.has_timeline then
        require("lib.timeline").add(r.base, "e", stamp)
      end
    elseif what == "dead-letter" then
      remove(stamp)
      note(r, "dead_r", 1)
      letters[#letters + 1] = {key = key, first = first, receives = received - b, record = record}
    elseif what == "stay" then
      is_stopped = true
      if r.delivered > delivered or #gone > 0 then -- the next receive is refused
        r.refused = nil
      end
      break
    elseif what == "wait" then
      is_stopped = true
      r.missing_dlq = r.delivered == delivered and r.dlq.name or r.missing_dlq
      break
    else
      deliver(r, group, key, record, members[i], received, first, since, b)
      if r.acks then
        remove(stamp)
      else
        kept = kept + 1
      end
    end
  end

  if at_head > 0 then
    redis.call("LTRIM", list, 2 * at_head, "-1")
  end
  if #gone > 0 then
    redis.call("HDEL", r.base .. "state", unpack(gone))
    r.removed, r.steps = r.removed + #gone, r.steps - 2
  end
  if #letters > 0 then
    require("lib.deadletter").move_fifo(r.base, r.dlq, group, letters, r.now_us)
    r.steps = r.steps - 13
  end
  return (kept == 0 or r.visibility_ms == 0) and (r.delivered > delivered or #gone > 0 or not is_stopped)
end

-- Give back what the common path took of the odd group and of those behind it, and bring its messages into the form of
-- this path. Returns the odd group (nil = none), which comes next, and since when it is available.
local function take_back(r)
  local common, back, group, since = {}, {}, nil, nil
  for i = 1, #r.popped, 2 do
    if group then
      back[#back + 1], back[#back + 2] = r.popped[i + 1], r.popped[i]
    elseif r.popped[i] == r.odd then
      group, since = r.odd, r.popped[i + 1]
    end
    common[r.popped[i]] = not group
  end
  if back[1] then
    redis.call("ZADD", r.base .. "available", unpack(back))
  end
  local messages, kept = {}, 0
  for i = 1, #r.messages, 3 do
    if common[r.messages[i + 1]] then
      messages[#messages + 1], messages[#messages + 2] = r.messages[i], r.messages[i + 1]
      messages[#messages + 1], messages[#messages + 2] = "", r.messages[i + 2]
      kept = kept + 2
    end
  end
  for i = #r.scores, kept + 1, -1 do
    r.scores[i], r.states[i] = nil, nil
  end
  r.messages = messages
  return group, since
end

-- Hand out up to n messages, group after group; the next one may be popped already.
local function take(r, n, per_group, group, since)
  local unlocked = {}
  while r.delivered < n and r.steps > 0 and r.room > 0 do
    if not group then
      group, since = unpack(redis.call("ZPOPMIN", r.base .. "available"))
    end
    if not group then
      break
    end
    local delivered, wanted = r.delivered, n - r.delivered
    local is_unlocked = serve(r, group, per_group > 0 and math.min(per_group, wanted) or wanted)
    if r.missing_dlq ~= "" or r.refused then
      break
    elseif is_unlocked and r.delivered == delivered then -- what stands behind the dropped ones has its turn
      local is_empty = require("lib.make_available")(r.base, group, since) == nil
      r.steps = r.steps - (is_empty and 1 or 6) -- LINDEX; and up to five for the head
    elseif is_unlocked then
      unlocked[#unlocked + 1] = group
      r.steps = r.steps - 2 -- at the end: LINDEX, and ZSCORE of a delayed head
    end
    group = nil
  end
  if group then -- it was not served
    redis.call("ZADD", r.base .. "available", since, group)
  end
  if r.removed > 0 then
    redis.pcall("HINCRBY", r.meta, "messages", -r.removed)
  end
  counting.add(r.base, r.stats)
  if #r.states > 0 then
    redis.call("HSET", r.base .. "state", unpack(r.states))
  end
  if #r.scores > 0 then
    redis.call("ZADD", r.base .. "inflight", unpack(r.scores))
  end
  fifo.make_all_available(r.base, unlocked, r.now_us)
end

-- Keep the answer, for a call that repeats this one.
local function keep(r, reply)
  local slot, number, scores = KEYS[1], ARGV[1], r.scores
  if r.acks or r.visibility_ms == 0 then
    require("lib.replay").save_reply(slot, number, reply, r.acks)
  else
    local saved = #scores == 2 and scores[1] .. scores[2] or cmsgpack.pack(scores) -- lib/replay.lua
    require("lib.idempotency").save(slot, number, saved)
  end
end

return function(r)
  local count, attempt_id, per_group = tonumber(ARGV[3]), r.attempt_id, r.per_group
  local wait, waiter = string.match(ARGV[5], "^(%S*) ?(.*)$")
  local group, since = take_back(r)
  r.delivered, r.removed, r.missing_dlq, r.stats = #r.scores / 2, 0, "", {}
  for i = 1, #r.messages, 4 do
    counting.dwell(r.stats, r.now_ms, fifo_key.sent(r.messages[i]))
  end
  if r.is_limited or r.paused then
    count = 0
  end

  -- What became visible. There may be more.
  local has_more = fifo.make_due_visible(r.base, r.now, r.delays and r.delay_ms, EXPIRED)
  if r.delays and r.delay_ms == 0 then -- else the next message is delayed again
    require("lib.settings").forget_delays(r.base, r.base .. "delayed", r.base .. "postponed")
  end

  local known = attempt_id ~= "" and count > 0
    and require("lib.attempt").repeated(r.base, attempt_id, r.now_ms, r.visible_ms)
  if known then
    local reply = {r.now_ms, r.topology, 0, 0, "", known}
    if r.visibility_ms == 0 then
      keep(r, reply)
    end
    reply[#reply + 1] = r.statuses
    return reply
  end

  take(r, count, per_group, group, since)
  if r.has_timeline then
    require("lib.timeline").hand_out(r.base, r.now_ms, r.messages, 4, r.acks)
  end
  if r.large then
    local base, keys = r.base, nil
    if r.delivered == 0 then
      keys = {base .. "available", base .. "inflight", base .. "delayed", base .. "postponed"}
    end
    require("lib.settings").forget_contents(base, r.now_ms, r.emptied, keys)
  end
  if r.delivered == 0 and r.refused then
    return r.refused
  elseif r.delivered == 0 then
    local why = r.is_limited and "limited" or r.paused and "paused"
      or (has_more or r.steps <= 0 or r.room <= 0) and "again" or nil
    local nothing_received = require("lib.wakeups").nothing_received
    local reply = nothing_received(r.base, r.topology, r.now_ms, wait, waiter, r.delay_ms, why, r.missing_dlq)
    reply[#reply + 1] = r.statuses
    return reply
  end
  if attempt_id ~= "" and #r.scores > 0 then
    require("lib.attempt").save(r.base, attempt_id, r.now_ms, r.messages, r.scores)
  end
  if string.find(wait, "^%d") then -- it has waited before: it may have a duty
    require("lib.wakeups").leave(r.base, waiter)
  end
  if redis.call("EXISTS", r.base .. "wakeups") == 0 then -- a waiter may be blocked
    require("lib.wake_next")(r.base, r.now_ms, has_more, r.delay_ms)
  end
  local reply = {r.now_ms, r.topology, 0, 0, r.missing_dlq, r.messages}
  keep(r, reply)
  reply[#reply + 1] = r.statuses
  return reply
end
