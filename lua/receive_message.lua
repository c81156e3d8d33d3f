#!lua flags=allow-oom
--[[
Receive messages from one partition of a standard queue (ReceiveMessage); messages that were received too
often move to the dead-letter queue on the way.

KEYS   1 slot     STRING  the caller's call slot (lib/idempotency.lua)
       2 meta     HASH    queue attributes
       3 ready    LIST    key, record, key, record ...
       4 store    HASH    member -> record of what is delayed or was received
       5 inflight ZSET    member -> visible again (ms * 1000) + receives of this delivery cycle
       6 wakeups  LIST    wakeup token
ALSO   delayed group:NAME again:NAME fair_ring paused moved timer backup wake:WAITER available outbox stats timeline; of
       another queue: meta ready fair_ring paused wakeups stats timeline
ARGV   1 number         of the call; an "r" behind it: it is repeated
       2 now_us         "" = the server's clock
       3 count          how many messages at most
       4 visibility_ms  "" = the queue's VisibilityTimeout
       5 wait           "" = the caller does not wait, "?" as the queue says, "+ms" from now, "ms" until then: it has
                        waited before; "/-" behind it: finding nothing is no empty receive (lib/wakeups.lua)
       6 waiter         name of the caller, PROCESS-NUMBER (lib/wakeups.lua); "" if it does not wait. When it gets
                        messages after having waited it gives its duty up
       7 flight_limit   at this many messages in flight nothing is handed out, and a caller that does not wait gets
                        OVER_LIMIT; 0 = no limit
       8 ack            "1" = delete at once what is received, "+SLOTS" = a worker that takes some ahead
                        (lib/ahead.lua); "c" behind it: look at the settings themselves, which may be damaged, and not
                        at `quick`, and make that true
       9... members of `inflight` to delete first: what the caller has finished
RETURN {member, record, ... [, topology]}: messages, all received for the first time in this delivery cycle, by members
       that end with the present time (ms), and the topology unless it is ""; else {now_ms, topology, wake_at_ms,
       wait_until_ms, missing_dlq, {member, receives, record, ...}}, where receives is 0 for the first time in this
       cycle, and -1 if this one does not count yet. If receipts of argument 9 are refused it is always the second form,
       with {status ...} of delete_message.lua behind it.
       member: of `inflight` (lib/message.lua), with a mark in front while there is a timeline (lib/timeline.lua), in
       the second form only. topology changes when the queue's partitions do. wake_at_ms: 0 nothing
       to do, {wake_at_ms, look_at_ms} the caller has a duty (lib/wakeups.lua), now_ms it comes again at once, -1 it is
       at flight_limit and comes again after a while. missing_dlq: a dead-letter queue that has no shard here yet
ERRORS QUEUE_NOT_FOUND, QUEUE_DAMAGED, OVER_LIMIT
BOUND  2500 calls, 4 MiB
]]
local call = redis.call
local slot, meta, ready, store, inflight, wakeups = KEYS[1], KEYS[2], KEYS[3], KEYS[4], KEYS[5], KEYS[6]
local number, count, wait, flight_limit, options = ARGV[1], ARGV[3], ARGV[5], ARGV[7], ARGV[8]
local is_repeated, SLOT_MS = #number > 8, "120000" -- lib/idempotency.lua
local acks = options == "1" or options == "1c"
local is_ahead = options ~= "" and string.byte(options) == 43 -- "+"

-- One field while nothing is out of the ordinary, else many.
local visibility, retention, topology, fair, paused, paused_groups, delays, large, unsorted, timeline, emptied
local quick = options == "" or options == "1" or is_ahead and string.sub(options, -1) ~= "c"
quick = quick and call("HGET", meta, "quick")
if quick then
  visibility, retention, topology = string.sub(quick, 1, 10), string.sub(quick, 11, 20), string.sub(quick, 21)
  if topology ~= "" and string.sub(topology, -1) == "f" then
    fair, topology = "1", string.sub(topology, 1, -2)
  end
else
  visibility, retention, topology, fair, paused, paused_groups, delays, large, unsorted, timeline, emptied =
    unpack(call("HMGET", meta, "VisibilityTimeout", "MessageRetentionPeriod", "topology", "fair", "paused",
      "paused_groups", "delays", "large", "unsorted", "Timeline", "emptied"))
  if not visibility then
    return redis.error_reply("QUEUE_NOT_FOUND " .. meta)
  elseif string.find(visibility .. (retention or "x"), "%D") or #visibility > 10 or #retention > 10 then
    return require("lib.damaged").settings(meta)
  elseif string.sub(options, -1) == "c" then -- somebody may have edited them
    require("lib.settings").mark(string.sub(meta, 1, -5))
  end
  topology = topology or ""
end
local base = string.sub(meta, 1, -5)
local now_us, now = require("lib.clock")(ARGV[2], true)
local now_ms = now + 0 -- cheaper than tonumber()
local visibility_ms = ARGV[4] == "" and visibility * 1000 or ARGV[4] + 0
local visible_ms = now_ms -- late, but never early
if visibility_ms > 0 then
  visible_ms = now_ms + visibility_ms + (string.sub(now_us, -3) == "000" and 0 or 1)
end
local retention_ms = retention * 1000

-- A call that is repeated, or may arrive after its repetition, and what it deletes first.
local reply, is_known, refused, _
if is_repeated or acks then
  reply, is_known = require("lib.replay").find(slot, number, base, false, topology, now)
end
if ARGV[9] then
  _, refused = require("lib.delete_messages")(base, 9, is_known, nil, now_ms)
end
if reply then
  return require("lib.replay").with_refused(reply, refused)
end

-- All calls that are not common take one other path: at once, or with what they took from the list.
local is_limited = flight_limit ~= "0" and call("ZCARD", inflight) >= tonumber(flight_limit)
  and call("ZCOUNT", inflight, now .. "999", "+inf") >= tonumber(flight_limit)
local is_common = not (is_limited or fair or paused or delays or large or unsorted or timeline)
  and call("ZCOUNT", inflight, "-inf", now .. "999") == 0 -- else something became visible (lib/score.lua)
local messages = is_common and (call("LPOP", ready, count == "1" and "2" or 2 * count) or {}) or nil
local score = string.format(is_ahead and "%d000" or "%d001", visible_ms) -- lib/score.lua, lib/ahead.lua
local head, tail = messages and messages[1], messages and messages[#messages - 1] -- before their keys become members
local scores = is_common and {unpack(messages)} or {} -- as large as it will be
local waited = head and now_ms - (tonumber(string.sub(head, 1, 13)) or now_ms) or 0
is_common = is_common and waited <= retention_ms -- else it has expired
for i = 1, is_common and #messages or 0, 2 do
  local key = messages[i]
  if #key ~= 24 then -- with a past or a group, or a tombstone (lib/message.lua)
    for j = 1, i - 1, 2 do
      messages[j] = string.sub(messages[j], 1, 24)
    end
    is_common = false
    break
  end
  local member = key .. now
  messages[i], scores[i], scores[i + 1] = member, score, member
end
if not is_common then
  return require("lib.receive_slow")({
    meta = meta, base = base, topology = topology, now = now, now_ms = now_ms, visible_ms = visible_ms,
    oldest = string.format("%d", now_ms - retention_ms), fair = fair, paused = paused, paused_groups = paused_groups,
    has_delayed = delays, large = large, unsorted = unsorted, emptied = emptied, is_limited = is_limited,
    popped = messages, refused = refused, acks = acks, has_timeline = timeline,
  })
elseif #messages == 0 then
  reply = require("lib.wakeups").nothing_received(base, topology, now_ms, wait, ARGV[6])
  return refused and require("lib.replay").with_refused(reply, refused) or reply
end

if not acks then
  local kept = redis.pcall("HSET", store, unpack(messages))
  if type(kept) == "table" then
    return require("lib.damaged").put_back(ready, messages, kept)
  end
  call("ZADD", inflight, unpack(scores))
  local saved = #scores == 2 and score .. scores[2] or "*" .. table.concat(scores) -- lib/replay.lua
  if is_repeated then
    require("lib.idempotency").save(slot, number, saved)
  else
    call("SET", slot, saved .. number, "PX", SLOT_MS)
  end
end
-- Their dwell times (lib/counting.lua), which are nearly always in one bucket.
local _, power = math.frexp(waited > 0 and waited or 0)
local is_even = head == tail
if not is_even then
  local least = now_ms - (tonumber(string.sub(tail, 1, 13)) or now_ms)
  is_even = select(2, math.frexp(least > 0 and least or 0)) == power
end
if is_even then
  redis.pcall("HINCRBY", base .. "stats", string.char(64 + power), #scores == 2 * count and count or #scores / 2)
else
  pcall(require("lib.first_receives"), base, now_ms, messages, 2)
end
if #wait == 13 and string.find(wait, "^%d") then -- it has waited before: it may have a duty
  require("lib.wakeups").leave(base, ARGV[6])
end
if call("EXISTS", wakeups) == 0 then -- a waiter may be blocked
  require("lib.wake_next")(base, now_ms, false)
end
if topology ~= "" then
  messages[#messages + 1] = topology
end
if acks then
  require("lib.idempotency").save(slot, number, "=" .. cmsgpack.pack(messages))
end
return refused and require("lib.replay").with_refused(messages, refused) or messages
