#!lua flags=allow-oom
--[[
Receive messages from one partition of a standard queue (ReceiveMessage); what was received too often moves to the
dead-letter queue on the way.

KEYS   1 slot     STRING  the caller's last call (lib/idempotency.lua)
       2 meta     HASH    queue attributes
       3 ready    LIST    key, record, key, record ...
       4 store    HASH    member -> record of what is delayed or was received
       5 inflight ZSET    member -> visible again (ms * 1000) + receives of this stay
       6 wakeups  LIST    wakeup token
ARGV   1 number         of the call
       2 now_us         "" = the server's clock
       3 count          how many messages at most
       4 visibility_ms  "" = the queue's VisibilityTimeout
       5 wait           "" = the caller does not wait, "?" as the queue says, "+ms" from now, "ms" until then
       6 waiter         name of the caller, PROCESS-NUMBER (lib/wakeups.lua); "" if it does not wait. It gives a duty up when
                        it gets messages after having waited (5 is an absolute time then)
       7 flight_limit   at so many messages in flight nothing is handed out, and a caller that does not wait gets
                        OVER_LIMIT; 0 = no limit
       8 settle         "1" = delete at once what is received
       9... members of `inflight` to delete first: what the caller has finished
RETURN {member, record, ..., topology, now_ms} if there are messages and all are received for the first time in this stay,
       else {now_ms, topology, wake_at_ms, wait_until_ms, missing_dlq, messages}:
       messages = {member, receives, record, ...}, receives = 0: for the first time in this stay; member: of `inflight`, see
       lib/message.lua. topology changes when the queue's partitions do. wake_at_ms = 0: nothing to do;
       {ring_at_ms, look_at_ms}: the caller has a duty (lib/wakeups.lua); now_ms: it comes again at once; -1: it is at
       flight_limit and comes again after a while. missing_dlq: a dead-letter queue that has no shard here yet.
       If receipts of argument 9 are refused, the second form has {status ...} of delete_message.lua behind it
ERRORS QUEUE_NOT_FOUND, QUEUE_DAMAGED, OVER_LIMIT
BOUND  2500 calls, 4 MiB
]]
local call = redis.call
local slot, meta, ready, store, inflight, token = KEYS[1], KEYS[2], KEYS[3], KEYS[4], KEYS[5], KEYS[6]
local count = tonumber(ARGV[3])

local settings = call("HMGET", meta, "VisibilityTimeout", "MessageRetentionPeriod", "special", "topology")
if not settings[1] then
  return redis.error_reply("QUEUE_NOT_FOUND " .. meta)
elseif #settings[1] > 10 or string.find(settings[1] .. (settings[2] or "x"), "%D") or #settings[2] > 10 then
  return require("lib.damaged").settings(meta)
end
local now_us = require("lib.clock")(ARGV[2])
local now = string.sub(now_us, 1, 13)
local now_ms = tonumber(now)
local topology = settings[4] or ""

local again, is_known
if #ARGV[1] > 8 or ARGV[8] == "1" then -- repeated, or it may arrive after its repetition
  again, is_known = require("lib.replay")(slot, string.sub(meta, 1, -5), false, topology, now)
end
local _, refused
if ARGV[9] then
  _, refused = require("lib.delete_messages")(string.sub(meta, 1, -5), 9, is_known)
end
if again then
  return require("lib.receive_slow").with_refused(again, refused)
end
local limited = false
if ARGV[7] ~= "0" and call("ZCARD", inflight) >= tonumber(ARGV[7])
  and call("ZCOUNT", inflight, now .. "999", "+inf") >= tonumber(ARGV[7]) then
  -- who waits gets no error, not even in the end, and who deletes has been served
  if not ARGV[9] and not string.find(ARGV[5], "^%d") and require("lib.wakeups").wait_until(string.sub(meta, 1, -5), ARGV[5], now_ms) <= now_ms then
    return redis.error_reply("OVER_LIMIT " .. ARGV[7])
  end
  count, limited = 0, true
end
local special = settings[3] and call("HMGET", meta, "fair", "paused", "paused_groups", "delays", "large", "unsorted")
if special and special[2] then
  count = 0
end

local visibility = ARGV[4] ~= "" and tonumber(ARGV[4]) or tonumber(settings[1]) * 1000
local deadline = string.format("%d", now_ms + visibility)
if visibility > 0 and string.sub(now_us, -3) ~= "000" then -- never early
  deadline = string.format("%d", now_ms + visibility + 1)
end
local score = deadline .. "001"
local oldest = string.format("%d", now_ms - tonumber(settings[2]) * 1000)
local scores, fresh, taken = {}, {}, 0
local base = string.sub(meta, 1, -5)
local r -- the state of the slow path

local function timers()
  return {{inflight, 1000, 0}, {base .. "delayed", 1000, 0}}
end

local function slow_path(popped)
  r = {
    popped = popped,
    meta = meta, base = base, now = now, now_ms = now_ms, oldest = oldest, score = score, deadline = deadline,
    messages = {}, scores = {}, missing_dlq = "",
    fair = special and special[1], paused_groups = special and special[3], delays = special and special[4],
    large = special and special[5],
  }
  require("lib.receive_slow").receive(r, count)
end

if count > 0 then
  if special and (special[1] or special[4] or special[5] or special[6])
    or #call("ZRANGEBYSCORE", inflight, "-inf", now .. "999", "LIMIT", "0", "1") > 0 then
    slow_path()
  else
    fresh = call("LPOP", ready, 2 * count) or {}
    taken = #fresh / 2
    for i = 1, #fresh, 2 do
      local key = fresh[i]
      if #key ~= 24 or key < oldest then -- a history, the tombstone of a cancelled message, or expired
        for j = 1, i - 1, 2 do
          fresh[j] = string.sub(fresh[j], 1, 24)
        end
        slow_path(fresh)
        taken = 0
        break
      end
      local member = key .. now
      fresh[i], scores[i], scores[i + 1] = member, score, member
    end
  end
end

if taken > 0 or r and #r.messages > 0 then
  local acks = ARGV[8] == "1"
  if r then
    scores = r.scores
    if acks then
      require("lib.receive_slow").settle(r)
    else
      require("lib.receive_slow").keep(r)
    end
  elseif not acks then
    local kept = redis.pcall("HSET", store, unpack(fresh))
    if type(kept) == "table" then
      return require("lib.damaged").put_back(ready, fresh, kept)
    end
  end
  if not acks then
    call("ZADD", inflight, unpack(scores))
    local number = #ARGV[1] > 8 and string.sub(ARGV[1], 1, 8) or ARGV[1]
    local saved = #scores == 2 and scores[1] .. scores[2] or cmsgpack.pack(scores)
    call("SET", slot, saved .. number, "PX", #ARGV[1] > 8 and "3600000" or "120000")
  end
  if string.find(ARGV[5], "^%d") then -- it has waited before: it may have a duty
    require("lib.wakeups").leave(base, ARGV[6])
  end
  if call("EXISTS", token) == 0 then -- somebody may be waiting
    require("lib.wake_next")(base, now_ms, false, timers())
  end
  local reply = fresh
  if r or refused then
    local messages = r and r.messages or require("lib.receive_slow").as_messages(fresh)
    reply = {now_ms, topology, 0, 0, r and r.missing_dlq or "", messages, refused}
  else
    fresh[#fresh + 1] = topology
    fresh[#fresh + 1] = now
  end
  if acks then
    call("SET", slot, "=" .. cmsgpack.pack(reply) .. string.sub(ARGV[1], 1, 8), "PX", #ARGV[1] > 8 and "3600000" or "120000")
  end
  return reply
end

local wake_at, wait_until
if limited then -- the token is for those who can take messages: the caller looks again after a while
  wake_at, wait_until = -1, require("lib.wakeups").step_aside(base, ARGV[5], now_ms, timers(), ARGV[6])
elseif r and (r.has_more or r.missing_dlq ~= "") then -- visible messages may be left: the caller comes again at once
  wake_at, wait_until = now_ms, require("lib.wakeups").wait_until(base, ARGV[5], now_ms)
else
  wake_at, wait_until = require("lib.wakeups").wait_on(base, ARGV[5], now_ms, count > 0 and timers() or {}, ARGV[6])
end
return {now_ms, topology, wake_at, wait_until, r and r.missing_dlq or "", {}, refused}
