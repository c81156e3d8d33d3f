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
ALSO   group:NAME delayed postponed paused moved attempt:ID timer backup wake:WAITER ready fair_ring stats; of another
       queue: meta group:NAME available paused wakeups stats
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
local number, count, wait, flight_limit, acks = ARGV[1], tonumber(ARGV[3]), ARGV[5], ARGV[7], ARGV[8] == "1"
local attempt_id, is_strict, per_group = ARGV[9], ARGV[10] == "1", tonumber(ARGV[11])
local is_repeated, SLOT_MS = #number > 8, "120000" -- lib/idempotency.lua
local CALLS, BYTES = 2000, 4194304 -- redis calls, about, and bytes (large.BYTES) after which it stops

local visibility, retention, special, topology, delays, largest = unpack(call("HMGET", meta, "VisibilityTimeout",
  "MessageRetentionPeriod", "special", "topology", "delays", "MaximumMessageSize"))
if not visibility then
  return redis.error_reply("QUEUE_NOT_FOUND " .. meta)
elseif string.find(visibility .. (retention or "x") .. (largest or "x"), "%D") or #visibility > 10 or #retention > 10
  or #largest == 0 or #largest > 10 then
  return require("lib.damaged").settings(meta)
end
topology = topology or ""
local base = string.sub(meta, 1, -5)
local now_us, now = require("lib.clock")(ARGV[2], true)
local now_ms = now + 0 -- cheaper than tonumber()
local visibility_ms = tonumber(ARGV[4]) or visibility * 1000
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
if ARGV[12] then
  local delete_messages = require("lib.delete_messages_fifo")
  statuses = delete_messages(base, inflight, states, available, now_us, is_strict, 12, is_known)
end
if reply then
  reply[#reply + 1] = statuses
  return reply
end

-- All calls that are not common take one other path: at once, or from the first group on that is not common.
local paused, delay, large
if special then
  paused, delay, large = unpack(call("HMGET", meta, "paused", "DelaySeconds", "large"))
end
local is_limited = flight_limit ~= "0" and call("ZCARD", inflight) >= tonumber(flight_limit)
  and call("ZCOUNT", inflight, now .. "999", "+inf") >= tonumber(flight_limit)
local is_common = not (is_repeated or acks or attempt_id ~= "" or visibility_ms == 0)
  and not (is_limited or paused or delays)
  and call("ZCOUNT", inflight, "-inf", now .. "999") == 0 -- else something became visible (lib/score.lua)

local messages, scores, new_states = {}, {}, {} -- what is handed out: the reply, for `inflight`, for `state`
local score, state = string.format("%d001", visible_ms), "1/" .. now .. "/" .. now_us -- lib/score.lua, lib/fifo.lua
local steps, room = CALLS - (statuses and 8 * #statuses or 0), BYTES -- a deletion counts as 8 calls
local group, since
while is_common and #scores < 2 * count and steps > 0 and room > 0 do
  steps = steps - 4
  group, since = unpack(call("ZPOPMIN", available))
  if not group then
    break
  end
  local wanted = count - #scores / 2
  if per_group > 0 and per_group < wanted then
    wanted = per_group
  end
  local list = base .. "group:" .. group
  local entries
  if large then
    entries, room, steps = require("lib.large").range(large, list, wanted, room, steps)
  else
    entries = call("LRANGE", list, "0", wanted == 1 and "1" or 2 * wanted - 1)
  end
  local stamps, members = {}, {}
  for i = 1, #entries, 2 do
    local stamp = entries[i]
    if #stamp ~= 16 or i == 1 and stamp < oldest then -- delayed, a dead letter (lib/fifo_key.lua), or expired
      is_common = false
      break
    end
    stamps[#stamps + 1], members[#members + 1] = stamp, stamp .. group
  end
  if is_common then -- unless one was received before
    local old_states = call("HMGET", states, unpack(stamps))
    local flights = stamps[2] and call("ZMSCORE", inflight, unpack(members)) or {}
    for i = 1, #stamps do
      is_common = is_common and not old_states[i] and not flights[i]
    end
  end
  for i = 1, is_common and #stamps or 0 do
    local n, m = #messages, #scores
    messages[n + 1], messages[n + 2], messages[n + 3], messages[n + 4] = stamps[i], group, "", entries[2 * i]
    new_states[m + 1], new_states[m + 2] = stamps[i], state
    scores[m + 1], scores[m + 2] = score, members[i]
  end
end
if not is_common then
  return require("lib.receive_slow_fifo")({
    meta = meta, base = base, topology = topology, now = now, now_ms = now_ms, now_us = now_us, oldest = oldest,
    visibility_ms = visibility_ms, visible_ms = visible_ms, paused = paused, delay_ms = (delay or 0) * 1000,
    delays = delays, large = large, is_limited = is_limited, statuses = statuses, steps = steps, room = room,
    popped = group, since = since, messages = messages, scores = scores, states = new_states,
    first_score = score, first_state = state,
  })
end

if #scores == 0 then
  reply = require("lib.wakeups").nothing_received(base, topology, now_ms, wait, ARGV[6], 0)
  reply[#reply + 1] = statuses
  return reply
end
call("HSET", states, unpack(new_states))
call("ZADD", inflight, unpack(scores))
call("SET", slot, (#scores == 2 and score .. scores[2] or cmsgpack.pack(scores)) .. number, "PX", SLOT_MS)
if #scores == 2 then -- its dwell time (lib/counting.lua)
  local waited = now_ms - (tonumber(string.sub(messages[1], 1, 13)) or now_ms)
  local _, power = math.frexp(waited > 0 and waited or 0)
  redis.pcall("HINCRBY", base .. "stats", string.char(64 + power), "1")
else
  pcall(require("lib.first_receives"), base, now_ms, messages, 4)
end
if #wait == 13 and string.find(wait, "^%d") then -- it has waited before: it may have a duty
  require("lib.wakeups").leave(base, ARGV[6])
end
if call("EXISTS", wakeups) == 0 then -- a waiter may be blocked
  require("lib.wake_next")(base, now_ms, false, 0)
end
local n = #messages
messages[n + 1], messages[n + 2], messages[n + 3] = topology, now, statuses
return messages
