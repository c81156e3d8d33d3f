#!lua flags=allow-oom
--[[
Receive messages from one partition of a FIFO queue (ReceiveMessage): as many as possible of one group, then of the
next, groups in the order in which their heads became available. What was received too often moves to the dead-letter
queue on the way.

KEYS   1 slot      STRING  the caller's last call (lib/idempotency.lua)
       2 meta      HASH    queue attributes
       3 available ZSET    group -> since when its head can be received (us)
       4 inflight  ZSET    stamp group -> visible again (ms * 1000) + receives of this stay
       5 state     HASH    stamp -> N/first_ms/available_us[/B] (lib/fifo.lua)
       6 wakeups   LIST    wakeup token
ARGV   1 number         of the call
       2 now_us         "" = the server's clock
       3 count          how many messages at most
       4 visibility_ms  "" = the queue's VisibilityTimeout
       5 wait           "" = the caller does not wait, "?" as the queue says, "+ms" from now, "ms" until then
       6 waiter         name of the caller, PROCESS-NUMBER (lib/wakeups.lua); "" if it does not wait
       7 flight_limit   nothing is handed out at so many messages in flight; 0 = no limit
       8 settle         "1" = delete at once what is received
       9 attempt        ReceiveRequestAttemptId, "" = none
       10 strict        as in delete_message_fifo.lua
       11 per_group     how many messages of one group at most; 0 = no limit
       12... key, group, receives of each message to delete first: what the caller has finished
RETURN {key, group, history, record, ..., topology, now_ms} if there are messages, else
       {now_ms, topology, wake_at_ms, wait_until_ms, missing_dlq, messages} with messages = {key, group, history, ...}
       history = "" for the first receive of this stay, else N/first_ms/received_ms[/B] (lib/fifo.lua); the rest as in
       receive_message.lua. If messages were to be deleted, {status ...} of delete_message_fifo.lua comes last
ERRORS QUEUE_NOT_FOUND, QUEUE_DAMAGED
BOUND  2500 calls, 4 MiB
]]
local call = redis.call
local slot, meta, available, inflight, states, token = KEYS[1], KEYS[2], KEYS[3], KEYS[4], KEYS[5], KEYS[6]
local count = tonumber(ARGV[3])

local settings = call("HMGET", meta, "VisibilityTimeout", "MessageRetentionPeriod", "special", "topology", "delays",
  "MaximumMessageSize")
if not settings[1] then
  return redis.error_reply("QUEUE_NOT_FOUND " .. meta)
elseif #settings[1] > 10 or string.find(settings[1] .. (settings[2] or "x") .. (settings[6] or "x"), "%D") or #settings[2] > 10
  or #settings[6] == 0 or #settings[6] > 10 then
  return require("lib.damaged").settings(meta)
end
local now_us = require("lib.clock")(ARGV[2])
local now = string.sub(now_us, 1, 13)
local now_ms = tonumber(now)
local topology = settings[4] or ""
local base = string.sub(meta, 1, -5)
local visibility = ARGV[4] ~= "" and tonumber(ARGV[4]) or tonumber(settings[1]) * 1000
local deadline_ms = visibility > 0 and math.ceil(now_us / 1000) + visibility or now_ms -- late, but never early
local oldest = now_ms - tonumber(settings[2]) * 1000 .. ""

local finished, repeated, known
if #ARGV[1] > 8 or ARGV[8] == "1" then -- repeated, or it may arrive after its repetition
  repeated, known = require("lib.replay")(slot, base, true, topology, now)
end
if ARGV[12] then
  finished = require("lib.delete_messages_fifo")(base, now_us, ARGV[10] == "1", 12, known)
end
local function answer(reply)
  reply[#reply + 1] = finished
  return reply
end
if repeated then
  return answer(repeated)
end

local special = settings[3] and call("HMGET", meta, "paused", "DelaySeconds", "large")
local limited = ARGV[7] ~= "0" and call("ZCARD", inflight) >= tonumber(ARGV[7])
  and call("ZCOUNT", inflight, now .. "999", "+inf") >= tonumber(ARGV[7])
if limited or special and special[1] then
  count = 0
end
local queue_delay = special and tonumber(special[2] or "0") * 1000 or 0

local function timers()
  return {{inflight, 1000, 0}, {base .. "delayed", 1, 0}, {base .. "postponed", 1, queue_delay}}
end

-- Visibility timeouts and delays that are over make groups available.
local again = false
if call("ZCOUNT", inflight, "-inf", now .. "999") > 0 then
  again = require("lib.fifo").expire_due(base, now, 100)
end
if settings[5] then
  again = require("lib.fifo").promote_due(base, now_ms, queue_delay, 100) or again
end

local attempt = ARGV[9] ~= "" and count > 0 and require("lib.attempt")(base, now_ms, deadline_ms) or nil
if attempt then
  local saved = attempt.repeated(slot, visibility, topology, now)
  if saved then
    return answer(saved)
  end
end

-- Group after group, in the order in which their heads became available.
local reply, scores, seen, offers = {}, {}, {}, nil
local missing_dlq = ""
local score, state = deadline_ms .. "001", "1/" .. now .. "/" .. now_us
local per_group = ARGV[11] == "0" and count or tonumber(ARGV[11])
-- Redis calls, about, and bytes of records until it stops: the caller comes again.
local steps, room = 2000 - (finished and 8 * #finished or 0), 4194304
local delivered, removed, rest = 0, 0, nil
while delivered < count and steps > 0 and room > 0 do
  local head = call("ZPOPMIN", available)
  local group = head[1]
  if not group then
    break
  end
  local most, entries = math.min(count - delivered, per_group), nil
  if special and special[3] then
    entries, room, steps = require("lib.large").range(special[3], base .. "group:" .. group, most, room, steps)
  else
    entries = call("LRANGE", base .. "group:" .. group, "0", 2 * most - 1)
  end
  local members, stamps, plain = {}, {}, true
  for i = 1, #entries, 2 do
    local stamp = entries[i]
    if #stamp ~= 16 or stamp < oldest then
      plain = false
      stamp = string.sub(stamp, 1, 16)
    end
    stamps[#stamps + 1] = stamp
    members[#members + 1] = stamp .. group
  end
  steps = steps - 4
  local histories = call("HMGET", states, unpack(stamps))
  local flights = #members > 1 and call("ZMSCORE", inflight, unpack(members)) or {}
  for i = 1, #stamps do
    plain = plain and not histories[i] and not flights[i]
  end
  if plain and visibility > 0 and ARGV[8] ~= "1" then
    for i = 1, #stamps do
      local n = #reply
      reply[n + 1], reply[n + 2], reply[n + 3], reply[n + 4] = stamps[i], group, "", entries[2 * i]
      seen[#seen + 1] = stamps[i]
      seen[#seen + 1] = state
      scores[#scores + 1] = score
      scores[#scores + 1] = members[i]
    end
    delivered = delivered + #stamps
  else -- received before, delayed, expired, in flight further on, not to be kept
    rest = rest or {
      meta = meta, base = base, now = now, now_us = now_us, now_ms = now_ms, oldest = oldest,
      deadline = deadline_ms, visibility = visibility, acks = ARGV[8] == "1",
      reply = reply, scores = scores, seen = seen,
    }
    rest.steps = steps
    local r = require("lib.receive_slow_fifo")(rest, group, entries, members, stamps, histories, flights)
    delivered, removed, steps = delivered + r.delivered, removed + r.removed, r.steps
    if r.missing_dlq then
      missing_dlq = r.missing_dlq
      call("ZADD", available, head[2], group)
      break
    elseif r.offer and r.delivered == 0 then
      -- what stands behind the dropped ones has its turn
      steps = steps - (require("lib.make_available")(base, group, head[2]) == nil and 1 or 6)
    elseif r.offer then
      steps = steps - 2
      offers = offers or {}
      offers[#offers + 1] = group
    end
  end
end

if removed > 0 then
  call("HINCRBY", meta, "messages", -removed)
end
if #seen > 0 then
  call("HSET", states, unpack(seen))
end
if #scores > 0 then
  call("ZADD", inflight, unpack(scores))
end
if offers then
  require("lib.fifo").make_all_available(base, offers, nil, now_us)
end
if attempt and #scores > 0 then
  attempt.save(reply, scores)
end

if delivered > 0 then
  if string.find(ARGV[5], "^%d") then -- it has waited before: it may have a duty
    require("lib.wakeups").leave(base, ARGV[6])
  end
  if call("EXISTS", token) == 0 then -- somebody may be waiting
    require("lib.wake_next")(base, now_ms, again, timers())
  end
  if missing_dlq == "" then
    reply[#reply + 1] = topology
    reply[#reply + 1] = now
  else
    reply = {now_ms, topology, 0, 0, missing_dlq, reply}
  end
  local saved
  if ARGV[8] == "1" or visibility == 0 then
    saved = "=" .. cmsgpack.pack(reply)
    if ARGV[8] ~= "1" and #saved > 8192 then -- a repetition receives them anew
      saved = "?"
    end
  else
    saved = #scores == 2 and scores[1] .. scores[2] or cmsgpack.pack(scores)
  end
  call("SET", slot, saved .. string.sub(ARGV[1], 1, 8), "PX", #ARGV[1] > 8 and "3600000" or "120000")
  return answer(reply)
end

if limited then -- the token is for those who can take messages: the caller looks again after a while
  local wait_until = require("lib.wakeups").step_aside(base, ARGV[5], now_ms, timers(), ARGV[6])
  return answer({now_ms, topology, -1, wait_until, missing_dlq, reply})
elseif (again or steps <= 0 or room <= 0) and count > 0 then -- there is more to expire or drop: the caller comes again at once
  return answer({now_ms, topology, now_ms, require("lib.wakeups").wait_until(base, ARGV[5], now_ms), missing_dlq, reply})
end
local wake_at, wait_until = require("lib.wakeups").wait_on(base, ARGV[5], now_ms, count > 0 and timers() or {}, ARGV[6])
return answer({now_ms, topology, wake_at, wait_until, missing_dlq, reply})
