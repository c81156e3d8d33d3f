#!lua flags=allow-oom
--[[
Receive messages from one partition of a standard queue (ReceiveMessage); messages that were received too
often move to the dead-letter queue on the way.

KEYS   1 slot     STRING  the caller's call slot (lib/idempotency.lua)
       2 meta     HASH    queue attributes
       3 ready    LIST    key, record, key, record ...
       4 store    HASH    member -> record of what is delayed or was received
       5 inflight ZSET    member -> visible again (ms * 1000) + receives of this delivery cycle
       6 stats    HASH    counters
       7 wakeups  LIST    wakeup token
ALSO   delayed group:NAME again:NAME fair_ring paused moved timer backup wake:WAITER available outbox timeline; of
       another queue: meta ready fair_ring paused wakeups stats timeline
ARGV   1 number         of the call; an "r" behind it: it is repeated
       2 now_us         "" = the server's clock
       3 count          how many messages at most
       4 how            "" = nothing of the following, else VISIBILITY_MS/FLIGHT_LIMIT/OPTIONS, each of which may be
                        empty: instead of the queue's VisibilityTimeout; at this many messages in flight nothing is
                        handed out, and a caller that does not wait gets OVER_LIMIT; "1" = delete at once what is
                        received, "+SLOTS" = a worker (lib/ahead.lua), and "c" behind these: look
                        at the settings themselves, which may be damaged, and not at `quick`, and make that true
       5 wait           "" = the caller does not wait, else how long, a blank and its name, PROCESS-NUMBER, or "":
                        "?" as the queue says, "+ms" from now, "ms" until then: it has waited before, and when it gets
                        messages it gives its duty up; "/-" behind the time: finding nothing is no empty receive
                        (lib/wakeups.lua)
       6... members of `inflight` to delete first: what the caller has finished
RETURN {member, record, ... [, topology]}: messages, all received for the first time in this delivery cycle, by members
       that end with the present time (ms), and the topology unless it is ""; else {now_ms, topology, wake_at_ms,
       wait_until_ms, missing_dlq, {member, receives, record, ...}}, where receives is 0 for the first time in this
       cycle, -1 for the first time if that does not count yet, and -2 - N for a suspect that has N (lib/ahead.lua). If
       receipts of argument 6 are refused it is always the second form, with {status ...} of delete_message.lua behind
       it.
       member: of `inflight` (lib/message.lua), with a mark in front while there is a timeline (lib/timeline.lua), in
       the second form only. topology changes when the queue's partitions do. wake_at_ms: 0 nothing
       to do, {wake_at_ms, look_at_ms} the caller has a duty (lib/wakeups.lua), now_ms it comes again at once, -1 it is
       at flight_limit and comes again after a while. missing_dlq: a dead-letter queue that has no shard here yet
ERRORS QUEUE_NOT_FOUND, QUEUE_DAMAGED, OVER_LIMIT
BOUND  2500 calls, 4 MiB
]]
local call, argv, keys = redis.call, ARGV, KEYS
local slot, meta, ready, store, inflight, wakeups = keys[1], keys[2], keys[3], keys[4], keys[5], keys[7]
local number, count, how, wait = argv[1], argv[3], argv[4], argv[5]
local is_repeated, SLOT_MS = #number > 8, "120000" -- lib/idempotency.lua
local SHORTEST_RETENTION_MS = 1000
local visibility_ms, flight_limit, acks, is_ahead, checks, slots = "", "", false, false, false, ""
if how ~= "" then
  local deletes, check
  visibility_ms, flight_limit, deletes, slots, check = string.match(how, "^(%d*)/(%d*)/(1?)(%+?%d*)(c?)$")
  acks, is_ahead, checks = deletes ~= "", slots ~= "", check ~= ""
end

-- One field while nothing is out of the ordinary, else many.
local visibility, retention, topology, fair, paused, paused_groups, delays, large, unsorted, timeline, emptied
local quick = not checks and call("HGET", meta, "quick")
if quick then
  topology = #quick == 20 and "" or string.sub(quick, 21)
  if topology ~= "" and string.sub(topology, -1) == "f" then
    fair, topology = "1", string.sub(topology, 1, -2)
  end
else
  visibility, retention, topology, fair, paused, paused_groups, delays, large, unsorted, timeline, emptied =
    unpack(call("HMGET", meta, "VisibilityTimeout", "MessageRetentionPeriod", "topology", "fair", "paused",
      "paused_groups", "delays", "large", "unsorted", "Timeline", "emptied"))
  if not visibility then
    return redis.error_reply("QUEUE_NOT_FOUND " .. meta)
  elseif string.find(visibility .. (retention or "x"), "%D") or #visibility == 0 or #visibility > 10
    or #retention == 0 or #retention > 10 then
    return require("lib.damaged").settings(meta)
  elseif checks then -- somebody may have edited them
    require("lib.settings").mark(string.sub(meta, 1, -5))
  end
  topology = topology or ""
end
local now, is_whole = require("lib.clock_ms")(argv[2])
local now_ms = now + 0 -- cheaper than tonumber()
if visibility_ms == "" then
  visibility_ms = (visibility or string.sub(quick, 1, 10)) * 1000
end
local visible_ms = now_ms -- late, but never early
if visibility_ms ~= "0" and visibility_ms ~= 0 then
  visible_ms = now_ms + visibility_ms + (is_whole and 0 or 1)
end

-- A call that is repeated, or may arrive after its repetition, and what it deletes first.
local reply, is_known, refused, _
if is_repeated or acks then
  reply, is_known = require("lib.replay").find(slot, number, string.sub(meta, 1, -5), false, topology, now)
end
if argv[6] then
  local deleted = not is_known and call("ZREM", inflight, unpack(argv, 6)) -- of most calls all are there
  if deleted == #argv - 5 then
    call("HDEL", store, unpack(argv, 6))
  else
    _, refused = require("lib.delete_messages")(string.sub(meta, 1, -5), 6, is_known, deleted, now_ms)
  end
end
if reply then
  return require("lib.replay").with_refused(reply, refused)
end

-- All calls that are not common take one other path: at once, or with what they took from the list.
local is_limited = flight_limit ~= "" and call("ZCARD", inflight) >= tonumber(flight_limit)
  and call("ZCOUNT", inflight, now .. "999", "+inf") >= tonumber(flight_limit)
local is_common = not (is_limited or paused or delays or large or unsorted or timeline)
  and call("ZCOUNT", inflight, "-inf", now .. "999") == 0 -- else something became visible (lib/score.lua)
if fair and is_common then
  reply = not (is_repeated or acks) and require("lib.receive_fair")({
    slot = slot, number = number, meta = meta, base = string.sub(meta, 1, -5), topology = topology, now = now,
    now_ms = now_ms, visible_ms = visible_ms, retention_ms = (retention or string.sub(quick, 11, 20)) * 1000,
    count = is_ahead and math.min(slots, count) or tonumber(count), wait = wait,
  })
  if reply then
    return refused and require("lib.replay").with_refused(reply, refused) or reply
  end
  is_common = false
end
local messages = is_common and (call("LPOP", ready, count == "1" and "2" or 2 * count) or {}) or nil
local size = messages and #messages or 0
local head, tail = size > 0 and messages[1], size > 2 and messages[size - 1] -- before their keys become members
local waited = head and now_ms - (tonumber(string.sub(head, 1, 13)) or now_ms) or 0
if waited > SHORTEST_RETENTION_MS and waited > (retention or string.sub(quick, 11, 20)) * 1000 then
  is_common = false -- it has expired
end
local score = string.format(is_ahead and "%d000" or "%d001", visible_ms) -- lib/score.lua, lib/ahead.lua
local scores = tail and {unpack(messages)} -- as large as it will be
for i = 1, is_common and size or 0, 2 do
  local key = messages[i]
  if #key ~= 24 then -- with a past or a group, or a tombstone (lib/message.lua)
    for j = 1, i - 1, 2 do
      messages[j] = string.sub(messages[j], 1, 24)
    end
    is_common = false
    break
  end
  local member = key .. now
  messages[i] = member
  if tail then
    scores[i], scores[i + 1] = score, member
  end
end
if not is_common then
  return require("lib.receive_slow")({
    meta = meta, base = string.sub(meta, 1, -5), topology = topology, now = now, now_ms = now_ms,
    visible_ms = visible_ms, fair = fair, paused = paused, paused_groups = paused_groups, has_delayed = delays,
    oldest = string.format("%d", now_ms - (retention or string.sub(quick, 11, 20)) * 1000), large = large,
    unsorted = unsorted, emptied = emptied, flight_limit = is_limited and flight_limit, popped = messages,
    refused = refused, acks = acks, has_timeline = timeline,
  })
elseif size == 0 then
  local for_ms, waiter = string.match(wait, "^(%S*) ?(.*)$")
  reply = require("lib.wakeups").nothing_received(string.sub(meta, 1, -5), topology, now_ms, for_ms, waiter)
  return refused and require("lib.replay").with_refused(reply, refused) or reply
end

if not acks then
  local member, kept = messages[1]
  if tail then
    kept = redis.pcall("HSET", store, unpack(messages))
  else -- quicker without unpack()
    kept = redis.pcall("HSET", store, member, messages[2])
  end
  if kept ~= size / 2 and type(kept) == "table" then
    return require("lib.damaged").put_back(ready, messages, kept)
  end
  local call_number, kept_ms, saved = number, SLOT_MS -- lib/replay.lua
  if is_repeated then
    call_number, kept_ms = string.sub(number, 1, 8), require("lib.idempotency").KEPT_REPEATED_MS
  end
  if tail then
    call("ZADD", inflight, unpack(scores))
    scores[size + 1] = call_number
    saved = "*" .. table.concat(scores)
  else
    call("ZADD", inflight, score, member)
    saved = score .. member .. call_number
  end
  call("SET", slot, saved, "PX", kept_ms)
end
-- Their dwell times (lib/counting.lua), which are nearly always in one bucket.
local _, power = math.frexp(waited > 0 and waited or 0)
local least_power = power
if tail then
  local least = now_ms - (tonumber(string.sub(tail, 1, 13)) or now_ms)
  _, least_power = math.frexp(least > 0 and least or 0)
end
if least_power == power then
  redis.pcall("HINCRBY", keys[6], string.char(64 + power), size == 2 and "1" or size / 2)
else
  pcall(require("lib.first_receives"), string.sub(meta, 1, -5), now_ms, messages, 2)
end
if wait ~= "" and string.find(wait, "^%d") then -- it has waited before: it may have a duty
  require("lib.wakeups").leave(string.sub(meta, 1, -5), string.match(wait, "^%S* ?(.*)$"))
end
if call("EXISTS", wakeups) == 0 then -- a waiter may be blocked
  require("lib.wake_next")(string.sub(meta, 1, -5), now_ms, false)
end
if topology ~= "" then
  messages[#messages + 1] = topology
end
if acks then
  require("lib.idempotency").save(slot, number, "=" .. cmsgpack.pack(messages))
end
return refused and require("lib.replay").with_refused(messages, refused) or messages
