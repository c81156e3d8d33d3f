#!lua flags=allow-oom
--[[
Receive messages from one partition of a FIFO queue (ReceiveMessage): as many as possible of one group, then of the
next, groups in the order in which their heads became available. Messages that were received
too often move to the dead-letter queue on the way.

KEYS   1 slot      STRING  the caller's call slot (lib/idempotency.lua)
       2 meta      HASH    queue attributes
       3 available ZSET    group -> since when its head can be received (us)
       4 inflight  ZSET    stamp group -> visible again (ms * 1000) + receives of this delivery cycle
       5 state     HASH    stamp -> N/first_ms/available_us[/B] (lib/fifo.lua)
       6 wakeups   LIST    wakeup token
ALSO   group:NAME delayed postponed paused moved attempt:ID timer backup wake:WAITER ready fair_ring; of another queue:
       meta group:NAME available paused wakeups
ARGV   1 number         of the call; an "r" behind it: it is repeated
       2 now_us         "" = the server's clock
       3 count          how many messages at most
       4 visibility_ms  "" = the queue's VisibilityTimeout
       5 wait           as in receive_message.lua
       6 waiter         the same
       7 flight_limit   at this many messages in flight nothing is handed out; 0 = no limit
       8 ack            "1" = delete at once what is received
       9 attempt        ReceiveRequestAttemptId, "" = none
       10 strict        as in delete_message_fifo.lua
       11 per_group     how many messages of one group at most; 0 = no limit
       12... key, group, receives of each message to delete first: what the caller has finished
RETURN {key, group, history, record, ..., topology, now_ms}: messages; else {now_ms, topology, wake_at_ms,
       wait_until_ms, missing_dlq, {key, group, history, record ...}}. If messages were to be deleted, {status ...} of
       delete_message_fifo.lua comes last in either form.
       history: "" for the first receive of this cycle, else N/first_ms/received_ms[/B] (lib/fifo.lua); the rest as in
       receive_message.lua
ERRORS QUEUE_NOT_FOUND, QUEUE_DAMAGED
BOUND  2500 calls, 4 MiB
]]
local call = redis.call
local slot, meta, available, inflight, states, wakeups = KEYS[1], KEYS[2], KEYS[3], KEYS[4], KEYS[5], KEYS[6]
local number, count, wait, flight_limit, acks = ARGV[1], tonumber(ARGV[3]), ARGV[5], tonumber(ARGV[7]), ARGV[8] == "1"
local attempt_id, is_strict, per_group = ARGV[9], ARGV[10] == "1", tonumber(ARGV[11])
local is_repeated, SLOT_MS = #number > 8, "120000" -- lib/idempotency.lua
local CALLS = 2000 -- redis calls, about, after which it stops: the caller comes again
local BYTES = 4194304 -- bytes of records, the same (large.BYTES)

local visibility, retention, special, topology, delays, largest = unpack(call("HMGET", meta, "VisibilityTimeout",
  "MessageRetentionPeriod", "special", "topology", "delays", "MaximumMessageSize"))
if not visibility then
  return redis.error_reply("QUEUE_NOT_FOUND " .. meta)
elseif string.find(visibility .. (retention or "x") .. (largest or "x"), "%D") or #visibility > 10 or #retention > 10
  or #largest == 0 or #largest > 10 then
  return require("lib.damaged").settings(meta)
end
topology = topology or ""
local base = string.match(meta, ".*:")
local now_us, now = require("lib.clock")(ARGV[2], true)
local now_ms = tonumber(now)
local visibility_ms = tonumber(ARGV[4]) or visibility * 1000
local visible_ms = visibility_ms > 0 and math.ceil(now_us / 1000) + visibility_ms or now_ms -- late, but never early
local oldest = string.format("%d", now_ms - retention * 1000)

-- A call that is repeated, or may arrive after its repetition, and what it deletes first.
local known_reply, is_known, statuses
if is_repeated or acks then
  known_reply, is_known = require("lib.replay").find(slot, number, base, true, topology, now)
end
if ARGV[12] then
  statuses = require("lib.delete_messages_fifo")(base, now_us, is_strict, 12, is_known)
end
local function answer(reply)
  reply[#reply + 1] = statuses
  return reply
end
if known_reply then
  return answer(known_reply)
end

-- Reasons to hand nothing out, and messages that became visible.
local paused, delay, large
if special then
  paused, delay, large = unpack(call("HMGET", meta, "paused", "DelaySeconds", "large"))
end
local queue_delay_ms = (delay or 0) * 1000
local is_limited = flight_limit > 0 and call("ZCARD", inflight) >= flight_limit
  and call("ZCOUNT", inflight, now .. "999", "+inf") >= flight_limit
if is_limited or paused then
  count = 0
end
local is_more_due = false -- visibility timeouts or delays that are over
if call("ZCOUNT", inflight, "-inf", now .. "999") > 0 then
  is_more_due = require("lib.fifo").expire_due(base, now, 100)
end
if delays then
  is_more_due = require("lib.fifo").promote_due(base, now_ms, queue_delay_ms, 100) or is_more_due
end
if attempt_id ~= "" and count > 0 then
  local retried = require("lib.attempt").repeated(base, attempt_id, now_ms, visible_ms)
  if retried then
    retried[#retried + 1] = topology
    retried[#retried + 1] = now
    if visibility_ms == 0 then
      require("lib.replay").save_reply(slot, number, retried, false)
    end
    return answer(retried)
  end
end

-- Group after group, in the order in which their heads became available.
local messages, scores, new_states = {}, {}, {} -- of the messages handed out: the reply, for `inflight`, for `state`
local delivered, removed, missing_dlq, shared, unlocked = 0, 0, "", nil, nil
local score, state = string.format("%d001", visible_ms), "1/" .. now .. "/" .. now_us -- lib/score.lua, lib/fifo.lua
local steps, room = CALLS - (statuses and 8 * #statuses or 0), BYTES -- a deletion counts as 8 calls
while delivered < count and steps > 0 and room > 0 do
  local group, since = unpack(call("ZPOPMIN", available))
  if not group then
    break
  end
  local list, wanted = base .. "group:" .. group, count - delivered
  if per_group > 0 and per_group < wanted then
    wanted = per_group
  end
  local entries
  if large then
    entries, room, steps = require("lib.large").range(large, list, wanted, room, steps)
  else
    entries = call("LRANGE", list, "0", 2 * wanted - 1)
  end
  steps = steps - 4 -- ZPOPMIN, LRANGE, HMGET, ZMSCORE

  -- Common are messages that were never received, delayed or dead letters, and are young enough.
  local stamps, members, is_common = {}, {}, visibility_ms > 0 and not acks
  for i = 1, #entries, 2 do
    local stamp = entries[i]
    if #stamp ~= 16 or stamp < oldest then -- lib/fifo_key.lua
      is_common, stamp = false, string.sub(stamp, 1, 16)
    end
    stamps[#stamps + 1] = stamp
    members[#members + 1] = stamp .. group
  end
  local old_states = call("HMGET", states, unpack(stamps))
  local flights = #members > 1 and call("ZMSCORE", inflight, unpack(members)) or {}
  for i = 1, #stamps do
    is_common = is_common and not old_states[i] and not flights[i]
  end

  if is_common then
    for i = 1, #stamps do
      local n, m, k = #messages, #new_states, #scores
      messages[n + 1], messages[n + 2], messages[n + 3], messages[n + 4] = stamps[i], group, "", entries[2 * i]
      new_states[m + 1], new_states[m + 2] = stamps[i], state
      scores[k + 1], scores[k + 2] = score, members[i]
    end
    delivered = delivered + #stamps
  else
    shared = shared or {
      base = base, now = now, now_ms = now_ms, now_us = now_us, oldest_ms = tonumber(oldest), visible_ms = visible_ms,
      visibility_ms = visibility_ms, acks = acks, messages = messages, scores = scores, new_states = new_states,
    }
    local r = require("lib.receive_slow_fifo")(shared, group, entries, members, stamps, old_states, flights, steps)
    delivered, removed, steps = delivered + r.delivered, removed + r.removed, r.steps
    if r.missing_dlq then
      missing_dlq = r.missing_dlq
      call("ZADD", available, since, group)
      break
    elseif r.is_unlocked and r.delivered == 0 then -- what stands behind the dropped ones has its turn
      local is_empty = require("lib.make_available")(base, group, since) == nil
      steps = steps - (is_empty and 1 or 6) -- LINDEX; and up to five for the head
    elseif r.is_unlocked then
      steps = steps - 2 -- at the end: LINDEX, and ZSCORE of a delayed head
      unlocked = unlocked or {}
      unlocked[#unlocked + 1] = group
    end
  end
end

if removed > 0 then
  call("HINCRBY", meta, "messages", -removed)
end
if #new_states > 0 then
  call("HSET", states, unpack(new_states))
end
if #scores > 0 then
  call("ZADD", inflight, unpack(scores))
end
if unlocked then
  require("lib.fifo").make_all_available(base, unlocked, nil, now_us)
end
if attempt_id ~= "" and #scores > 0 then
  require("lib.attempt").save(base, attempt_id, now_ms, messages, scores)
end

if delivered == 0 then
  local why = is_limited and "limited" or paused and "paused"
    or (is_more_due or steps <= 0 or room <= 0) and "again" or nil
  local nothing_received = require("lib.wakeups").nothing_received
  return answer(nothing_received(base, topology, now_ms, wait, ARGV[6], queue_delay_ms, why, missing_dlq))
end
if string.find(wait, "^%d") then -- it has waited before: it may have a duty
  require("lib.wakeups").leave(base, ARGV[6])
end
if call("EXISTS", wakeups) == 0 then -- a waiter may be blocked
  require("lib.wake_next")(base, now_ms, is_more_due, queue_delay_ms)
end
local reply = messages
if missing_dlq ~= "" then
  reply = {now_ms, topology, 0, 0, missing_dlq, messages}
else
  reply[#reply + 1] = topology
  reply[#reply + 1] = now
end
if acks or visibility_ms == 0 then
  require("lib.replay").save_reply(slot, number, reply, acks)
else
  local saved = #scores == 2 and scores[1] .. scores[2] or cmsgpack.pack(scores) -- lib/replay.lua
  if is_repeated then
    require("lib.idempotency").save(slot, number, saved)
  else
    call("SET", slot, saved .. number, "PX", SLOT_MS)
  end
end
return answer(reply)
