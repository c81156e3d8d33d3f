#!lua flags=allow-oom
--[[
Receive messages from one partition of a standard queue (ReceiveMessage); what was received too often moves to the
dead-letter queue on the way.

KEYS   1 lane     STRING  the caller's last call (lib/once.lua)
       2 meta     HASH    queue attributes
       3 ready    LIST    key, record, key, record ...
       4 store    HASH    key -> record of what is delayed or in flight
       5 inflight ZSET    member -> visible again (ms * 1000) + receives of this stay
       6 bell     LIST    wake token
ARGV   1 number         of the call
       2 now_us         "" = the server's clock
       3 count          how many messages at most
       4 visibility_ms  "" = the queue's VisibilityTimeout
       5 wait           "" = the caller does not wait, "?" as the queue says, "+ms" from now, "ms" until then
       6 waiter         name of the caller, PROCESS-NUMBER (lib/bell.lua); "" if it does not wait. It gives a duty up when
                        it gets messages after having waited (5 is an absolute time then)
       7 flight_limit   at so many messages in flight nothing is handed out, and a caller that does not wait gets
                        OVER_LIMIT; 0 = no limit
       8 settle         "1" = delete at once what is received
       9... members of `inflight` to delete first: what the caller has finished
RETURN {key, record, ..., topology, now_ms} if there are messages and all are received for the first time in this stay,
       else {now_ms, topology, wake_at_ms, wait_until_ms, missing_dlq, retried, fresh}:
       retried = {member, receives, record, ...}, fresh = {key, record, ...}; lib/message.lua tells the members of
       `inflight`. topology changes when the queue's partitions do. wake_at_ms = 0: nothing to do;
       {ring_at_ms, look_at_ms}: the caller has a duty (lib/bell.lua); now_ms: it comes again at once; -1: it is at
       flight_limit and comes again after a while.
       missing_dlq: a dead-letter queue that has no shard here yet
ERRORS QUEUE_NOT_FOUND, OVER_LIMIT
]]
local call = redis.call
local lane, meta, ready, store, inflight, token = KEYS[1], KEYS[2], KEYS[3], KEYS[4], KEYS[5], KEYS[6]
local count = tonumber(ARGV[3])

local settings = call("HMGET", meta, "VisibilityTimeout", "MessageRetentionPeriod", "special", "topology")
if not settings[1] then
  return redis.error_reply("QUEUE_NOT_FOUND " .. meta)
end
local now_us = require("lib.clock")(ARGV[2])
local now = string.sub(now_us, 1, 13)
local now_ms = tonumber(now)
local topology = settings[4] or ""

local repeated, known
if #ARGV[1] > 8 or ARGV[8] == "1" then -- repeated, or it may arrive after its repetition
  repeated, known = require("lib.received")(lane, string.sub(meta, 1, -5), false, topology, now)
end
if ARGV[9] and not known then -- a repeated call has deleted already
  require("lib.deletion")(store, inflight, 9)
end
if repeated then
  return repeated
end
local limited = false
if ARGV[7] ~= "0" and call("ZCARD", inflight) >= tonumber(ARGV[7])
  and call("ZCOUNT", inflight, now .. "999", "+inf") >= tonumber(ARGV[7]) then
  -- who waits gets no error, not even in the end, and who deletes has been served
  if not ARGV[9] and not string.find(ARGV[5], "^%d") and require("lib.bell").wait_until(meta, ARGV[5], now_ms) <= now_ms then
    return redis.error_reply("OVER_LIMIT " .. ARGV[7])
  end
  count, limited = 0, true
end
local special = settings[3] and call("HMGET", meta, "fair", "paused", "paused_groups")
if special and special[2] then
  count = 0
end

local visibility = ARGV[4] ~= "" and tonumber(ARGV[4]) or tonumber(settings[1]) * 1000
local deadline_ms = now_ms + visibility
local score = deadline_ms .. "001"
local oldest = now_ms - tonumber(settings[2]) * 1000 .. ""
local retried, fresh, scores = {}, {}, {}
local room, missing_dlq, in_the_way = count, "", false
local base = string.sub(meta, 1, -5)
local plain = 0 -- so long is `fresh` while its keys are fields of `store` as they are

local function timers()
  return {{inflight, 1000, 0}, {base .. "delayed", 1000, 0}}
end

-- The uncommon cases share this state.
local function uncommon()
  return {
    meta = meta,
    base = base,
    now = now,
    now_ms = now_ms,
    timers = timers,
    deadline = deadline_ms .. "",
    oldest = oldest,
    paused_groups = special and special[3],
    retried = retried,
    fresh = fresh,
    scores = scores,
  }
end

-- Messages whose visibility timeout is over come first.
if count > 0 then
  local due = call("ZRANGEBYSCORE", inflight, "-inf", now .. "999", "WITHSCORES", "LIMIT", "0", count)
  if #due > 0 then
    missing_dlq, in_the_way = require("lib.delivery").retry(uncommon(), due)
    room = count - #retried / 3
  end
end

local function take_delayed()
  local delivered, dropped = require("lib.delivery").delayed(uncommon(), room)
  room, in_the_way = room - delivered, in_the_way or dropped
end

-- In one call of ten what was delayed and is due goes before the ready ones, else it follows them.
if room > 0 and string.sub(now_us, -1) == "0" then
  take_delayed()
end

-- Then the ready ones, oldest first.
if room > 0 then
  local popped, dropped
  if special and special[1] then
    room, dropped = require("lib.delivery").fair(uncommon(), room)
  else
    popped = call("LPOP", ready, 2 * room)
  end
  if popped then
    local taken = 0
    for i = 1, #popped, 2 do
      local key = popped[i]
      if #key ~= 24 or key < oldest then
        break
      end
      taken = taken + 1
      scores[#scores + 1] = score
      scores[#scores + 1] = key .. now
    end
    if taken == #popped / 2 and #fresh == 0 then
      fresh, plain = popped, #popped
      room = room - taken
    else -- messages with a history, holes of cancelled ones, expired ones
      for _ = 1, 2 * taken do
        table.remove(scores)
      end
      room, dropped = require("lib.delivery").ready(uncommon(), popped, room)
    end
  end
  in_the_way = in_the_way or dropped
  if room > 0 then
    take_delayed()
  end
end

if room < count then
  local settles = ARGV[8] == "1"
  if settles then
    require("lib.delivery").settle(uncommon())
  else
    if #fresh == plain then
      if plain > 0 then
        call("HSET", store, unpack(fresh))
      end
    else
      require("lib.delivery").keep(uncommon())
    end
    call("ZADD", inflight, unpack(scores))
    local number = #ARGV[1] > 8 and string.sub(ARGV[1], 1, 8) or ARGV[1]
    local saved = #scores == 2 and scores[1] .. scores[2] or cmsgpack.pack(scores)
    call("SET", lane, saved .. number, "PX", #ARGV[1] > 8 and "3600000" or "120000")
  end
  if string.find(ARGV[5], "^%d") then -- it has waited before: it may have a duty
    require("lib.bell").leave(token, base .. "keeper", ARGV[6])
  end
  if call("EXISTS", token) == 0 then -- somebody may be waiting
    require("lib.delivery").wake(uncommon())
  end
  local reply = fresh
  if #retried == 0 and missing_dlq == "" then
    fresh[#fresh + 1] = topology
    fresh[#fresh + 1] = now
  else
    reply = {now_ms, topology, 0, 0, missing_dlq, retried, fresh}
  end
  if settles then
    call("SET", lane, "=" .. cmsgpack.pack(reply) .. string.sub(ARGV[1], 1, 8), "PX", require("lib.once").life(#ARGV[1] > 8))
  end
  return reply
end

if limited then -- the token is for those who can take messages: the caller looks again after a while
  local wait_until = require("lib.bell").step_aside(base, ARGV[5], now_ms, timers(), ARGV[6])
  return {now_ms, topology, -1, wait_until, missing_dlq, retried, fresh}
elseif in_the_way then -- what was dropped or moved may hide visible messages: the caller comes again at once
  return {now_ms, topology, now_ms, require("lib.bell").wait_until(meta, ARGV[5], now_ms), missing_dlq, retried, fresh}
end
local wake_at, wait_until = require("lib.bell").rest(base, ARGV[5], now_ms, count > 0 and timers() or {}, ARGV[6])
return {now_ms, topology, wake_at, wait_until, missing_dlq, retried, fresh}
