#!lua flags=allow-oom
--[[
Receive messages from one partition of a FIFO queue (ReceiveMessage): as many as possible of one group, then of the
next, groups in the order in which their heads became available. Messages that were received too often move to the
dead-letter queue on the way (lib/receive_slow_fifo.lua).

KEYS   1 slot      STRING  the caller's call slot (lib/idempotency.lua)
       2 meta      HASH    queue attributes
       3 available ZSET    group -> since when its head can be received (us)
       4 inflight  ZSET    stamp group -> visible again (ms * 1000) + receives of this delivery cycle
       5 state     HASH    stamp -> N/first_ms/available_us[/B] (lib/fifo.lua)
       6 wakeups   LIST    wakeup token
ALSO   group:NAME delayed postponed paused moved attempt:ID timer backup wake:WAITER ready fair_ring outbox
       stats timeline; of another queue: meta group:NAME available paused wakeups stats timeline
ARGV   1 number         of the call; an "r" behind it: it is repeated
       2 now_us         "" = the server's clock
       3 count          how many messages at most
       4 how            "" = nothing of the following, else VISIBILITY_MS/FLIGHT_LIMIT/OPTIONS/STRICT/PER_GROUP/ATTEMPT,
                        each of which may be empty: instead of the queue's VisibilityTimeout; at this many messages in
                        flight nothing is handed out; "1" = delete at once what is received, and "c" behind it: look at
                        the settings themselves, which may be damaged, and not at `quick`, and make that true; "1" = as
                        in delete_message_fifo.lua; how many messages of one group at most; ReceiveRequestAttemptId
       5 wait           as in receive_message.lua
       6... key, group, receives of each message to delete first: what the caller has finished
RETURN {key, group, record, ..., topology, now_ms}: messages, all received for the first time in this delivery cycle;
       else {now_ms, topology, wake_at_ms, wait_until_ms, missing_dlq, {key, group, history, record ...}}. If messages
       were to be deleted, {status ...} of delete_message_fifo.lua comes last in either form.
       key: with a mark in front while there is a timeline (lib/timeline.lua), in the second form only
       history: "" for the first receive of this cycle, else N/first_ms/received_ms[/B] (lib/fifo.lua); the rest as in
       receive_message.lua
ERRORS QUEUE_NOT_FOUND, QUEUE_DAMAGED
BOUND  2500 calls, 4 MiB
]]
local call, argv, keys = redis.call, ARGV, KEYS
local slot, meta, available, inflight, states, wakeups = keys[1], keys[2], keys[3], keys[4], keys[5], keys[6]
local number, count, how, wait = argv[1], argv[3] + 0, argv[4], argv[5] -- cheaper than tonumber()
local visibility_ms, flight_limit, acks, checks, is_strict, per_group, attempt_id = "", "", false, false, false, 0, ""
if how ~= "" then
  local deletes, check, strict, most
  visibility_ms, flight_limit, deletes, check, strict, most, attempt_id =
    string.match(how, "^(%d*)/(%d*)/(1?)(c?)/(1?)/(%d*)/(.*)$")
  acks, checks, is_strict, per_group = deletes ~= "", check ~= "", strict ~= "", tonumber(most) or 0
end
local is_repeated, SLOT_MS = #number > 8, "120000" -- lib/idempotency.lua
local CALLS, BYTES = 2000, 4194304 -- redis calls, about, and bytes (large.BYTES) after which it stops

-- One field while nothing is out of the ordinary, else many.
local visibility, retention, topology, largest, delay, paused, large, delays, timeline, emptied
local quick = not checks and call("HGET", meta, "quick")
if quick then
  visibility, retention = string.sub(quick, 1, 10), string.sub(quick, 11, 20)
  topology = #quick == 20 and "" or string.sub(quick, 21)
else
  visibility, retention, topology, largest, delay, paused, large, delays, timeline, emptied = unpack(call("HMGET", meta,
    "VisibilityTimeout", "MessageRetentionPeriod", "topology", "MaximumMessageSize", "DelaySeconds", "paused", "large",
    "delays", "Timeline", "emptied"))
  if not visibility then
    return redis.error_reply("QUEUE_NOT_FOUND " .. meta)
  elseif string.find(visibility .. (retention or "x") .. (largest or "x"), "%D") or #visibility == 0
    or #visibility > 10 or #retention == 0 or #retention > 10 or #largest == 0 or #largest > 10 then
    return require("lib.damaged").settings(meta)
  elseif checks then -- somebody may have edited them
    require("lib.settings").mark(string.sub(meta, 1, -5))
  end
  topology = topology or ""
end
local base = string.sub(meta, 1, -5)
local now_us, now = require("lib.clock")(argv[2], true)
local now_ms = now + 0
visibility_ms = visibility_ms == "" and visibility * 1000 or visibility_ms + 0
local visible_ms = now_ms -- late, but never early
if visibility_ms > 0 then
  visible_ms = now_ms + visibility_ms + (string.sub(now_us, -3) == "000" and 0 or 1)
end
local oldest = string.format("%d", now_ms - retention * 1000)

-- A call that is repeated, or may arrive after its repetition, and what it deletes first.
local reply, is_known, statuses
if is_repeated or acks then
  reply, is_known = require("lib.replay").find(slot, number, base, true, topology, now)
end
if argv[6] then
  local delete_messages = require("lib.delete_messages_fifo")
  statuses = delete_messages(base, inflight, states, now_us, is_strict, 6, is_known)
end
if reply then
  reply[#reply + 1] = statuses
  return reply
end

-- All calls that are not common take one other path: at once, or from the first group on that is not common.
local is_limited = flight_limit ~= "" and call("ZCARD", inflight) >= tonumber(flight_limit)
  and call("ZCOUNT", inflight, now .. "999", "+inf") >= tonumber(flight_limit)
local is_common = not (is_repeated or acks or attempt_id ~= "" or visibility_ms == 0 or timeline)
  and not (is_limited or paused or delays)
  and call("ZCOUNT", inflight, "-inf", now .. "999") == 0 -- else something became visible (lib/score.lua)

-- What is handed out: the reply, for `inflight`, for `state`. There is room for one message: tables are slow to grow.
local messages, scores, new_states = {nil, nil, nil, nil, nil}, {nil, nil}, {nil, nil}
local score, state = string.format("%d001", visible_ms), "1/" .. now .. "/" .. now_us -- lib/score.lua, lib/fifo.lua
local steps, room = CALLS - (statuses and 8 * #statuses or 0), BYTES -- a deletion counts as 8 calls
local popped, p, odd = {nil, nil}, 1, nil -- group, since ...; the next one in it; the first group that is not common
local is_over, rooms = not is_common, large and {} -- group -> room before it was read
while not is_over and #scores < 2 * count and steps > 0 and room > 0 do
  if not popped[p] and (p == 1 or large) then
    local group, since = unpack(call("ZPOPMIN", available))
    popped[p], popped[p + 1] = group, since
  elseif not popped[p] then -- as many as will do if they are like those before
    local wanted = math.ceil((2 * count - #scores) * (p - 1) / 2 / math.max(#scores, 1))
    local more = call("ZPOPMIN", available, wanted)
    for i = 1, #more do
      popped[#popped + 1] = more[i]
    end
  end
  local group = popped[p]
  if not group then
    break
  end
  local wanted, list = count - #scores / 2, base .. "group:" .. group
  if per_group > 0 and per_group < wanted then
    wanted = per_group
  end
  local entries
  if large then
    rooms[group] = room
    entries, room, steps = require("lib.large").range(large, list, wanted, room, steps)
  else
    entries = redis.pcall("LRANGE", list, "0", wanted == 1 and "1" or 2 * wanted - 1)
  end
  if entries.err then
    return require("lib.damaged").give_back(available, popped, entries)
  end
  for i = 1, #entries, 2 do
    local stamp, n, m = entries[i], #messages, #scores
    if #stamp ~= 16 or i == 1 and stamp < oldest then -- delayed, a dead letter (lib/fifo_key.lua), or expired
      odd, is_over = group, true
      break
    end
    messages[n + 1], messages[n + 2], messages[n + 3] = stamp, group, entries[i + 1]
    new_states[m + 1], new_states[m + 2] = stamp, state
    scores[m + 1], scores[m + 2] = score, stamp .. group
  end
  p, steps = p + 2, steps - 2
end
-- Was one received before? What is in flight has a state, too. The state of one message is set at once, unless the slow
-- path will read it.
if #scores == 2 and not odd then
  local is_set = redis.pcall("HSETNX", states, new_states[1], state)
  if is_set == 0 then
    odd = messages[2]
  elseif is_set ~= 1 then
    return require("lib.damaged").give_back(available, popped, is_set)
  end
elseif #scores > 0 then
  local stamps = {}
  for i = 1, #new_states, 2 do
    stamps[#stamps + 1] = new_states[i]
  end
  local old_states = redis.pcall("HMGET", states, unpack(stamps))
  if old_states.err then
    return require("lib.damaged").give_back(available, popped, old_states)
  end
  for i = 1, #stamps do
    if old_states[i] then
      odd = messages[3 * i - 1]
      break
    end
  end
end
if odd then
  is_common, room = false, rooms and rooms[odd] or room -- it is read once more
end
if not is_common then
  return require("lib.receive_slow_fifo")({
    meta = meta, base = base, topology = topology, now = now, now_ms = now_ms, now_us = now_us, oldest = oldest,
    visibility_ms = visibility_ms, visible_ms = visible_ms, paused = paused, delay_ms = (delay or 0) * 1000,
    delays = delays, large = large, is_limited = is_limited, statuses = statuses, steps = steps, room = room,
    acks = acks, popped = popped, odd = odd, messages = messages, scores = scores, states = new_states,
    attempt_id = attempt_id, per_group = per_group, first_score = score, first_state = state,
    has_timeline = timeline, emptied = emptied,
  })
end

if large then
  local found_in = #scores == 0 and {available, inflight, base .. "delayed", base .. "postponed"} or nil
  require("lib.settings").forget_contents(base, now_ms, emptied, found_in)
end
if #scores == 0 then
  local for_ms, waiter = string.match(wait, "^(%S*) ?(.*)$")
  reply = require("lib.wakeups").nothing_received(base, topology, now_ms, for_ms, waiter, 0)
  reply[#reply + 1] = statuses
  return reply
end
if popped[p] then -- more than could be served
  local back = {}
  for i = p, #popped, 2 do
    back[#back + 1], back[#back + 2] = popped[i + 1], popped[i]
  end
  call("ZADD", available, unpack(back))
end
if #scores > 2 then
  call("HSET", states, unpack(new_states))
end
call("ZADD", inflight, unpack(scores))
call("SET", slot, (#scores == 2 and score .. scores[2] or cmsgpack.pack(scores)) .. number, "PX", SLOT_MS)
if #scores == 2 then -- its dwell time (lib/counting.lua)
  local waited = now_ms - (tonumber(string.sub(messages[1], 1, 13)) or now_ms)
  local _, power = math.frexp(waited > 0 and waited or 0)
  redis.pcall("HINCRBY", base .. "stats", string.char(64 + power), "1")
else
  pcall(require("lib.first_receives"), base, now_ms, messages, 3)
end
if wait ~= "" and string.find(wait, "^%d") then -- it has waited before: it may have a duty
  require("lib.wakeups").leave(base, string.match(wait, "^%S* ?(.*)$"))
end
if call("EXISTS", wakeups) == 0 then -- a waiter may be blocked
  require("lib.wake_next")(base, now_ms, false, 0)
end
local n = #messages
messages[n + 1], messages[n + 2], messages[n + 3] = topology, now, statuses
return messages
