#!lua flags=allow-oom
--[[
Receive messages from one partition of a FIFO queue (ReceiveMessage): as many as possible of one group, then of the
next, groups in the order in which their heads became available. What was received too often moves to the dead-letter
queue on the way.

KEYS   1 meta      HASH    queue attributes
       2 available ZSET    group -> since when its head can be received (us)
       3 inflight  ZSET    stamp group -> visible again (ms * 1000) + receives of this stay
       4 state     HASH    stamp -> receives/first_ms/available_us
       5 bell      LIST    wake token
       6 keeper    STRING  who rings for the next due time
ARGV   1 now_us         "" = the server's clock
       2 count          how many messages at most
       3 visibility_ms  "" = the queue's VisibilityTimeout
       4 wait           "" = the caller does not wait, "?" as the queue says, "+ms" from now, "ms" until then
       5 waiter         name of the caller as a keeper; "" if it cannot be one
       6 flight_limit   nothing is handed out at so many messages in flight; 0 = no limit
       7 settle         "1" = delete at once what is received
       8 attempt        ReceiveRequestAttemptId, "" = none
RETURN {now_ms, topology, wake_at_ms, wait_until_ms, missing_dlq, messages}
       messages = {key, group, receives, first_ms, received_ms, record, ...}; the rest as in receive_message.lua
ERRORS QUEUE_NOT_FOUND
]]
local clock = require("lib.clock")
local bell = require("lib.bell")
local fifo = require("lib.fifo")
local deadletter = require("lib.deadletter")

local meta, available, inflight, states, token, keeper = unpack(KEYS)
local count = tonumber(ARGV[2])

local settings = redis.call("HMGET", meta, "VisibilityTimeout", "MessageRetentionPeriod", "special", "topology", "delays")
if not settings[1] then
  return redis.error_reply("QUEUE_NOT_FOUND " .. meta)
end
local now_us = clock.now_us(ARGV[1])
local now = string.sub(now_us, 1, 13)
local now_ms = tonumber(now)
local topology = settings[4] or ""
local q = fifo.open(meta)
local visibility = ARGV[3] ~= "" and tonumber(ARGV[3]) or tonumber(settings[1]) * 1000
local deadline_ms = now_ms + visibility
local queue_delay = 0

if settings[3] then
  local special = redis.call("HMGET", meta, "paused", "paused_groups", "DelaySeconds")
  if special[1] then
    count = 0
  end
  q.paused_groups = special[2] or false
  queue_delay = tonumber(special[3] or "0") * 1000
else
  q.paused_groups = false
end
local flight_limit = tonumber(ARGV[6])
if flight_limit > 0 and redis.call("ZCARD", inflight) >= flight_limit
  and redis.call("ZCOUNT", inflight, now .. "999", "+inf") >= flight_limit then
  count = 0
end

local again = fifo.expire_due(q, now, 100)
if settings[5] then
  again = fifo.promote_due(q, now_ms, queue_delay, 100) or again
end

-- A retry under the same attempt id gets the same messages and handles, while none of them was touched since.
local attempt = ARGV[8] ~= "" and q.base .. "attempt:" .. ARGV[8] or nil
if attempt and count > 0 then
  local saved = redis.call("GET", attempt)
  local messages = saved and cjson.decode(saved) or {expires = 0}
  if messages.expires > now_ms and #messages > 0 then
    local scores, reply = {}, {}
    for i, m in ipairs(messages) do
      local score = redis.call("ZSCORE", inflight, m.stamp .. m.group)
      if not score or score ~= m.score then
        scores = nil
        break
      end
      local list = redis.call("LRANGE", fifo.list(q, m.group), "0", "4095")
      for j = 1, #list, 2 do
        if string.sub(list[j], 1, 16) == m.stamp then
          for _, value in ipairs({list[j], m.group, m.receives, m.first, messages.received, list[j + 1]}) do
            reply[#reply + 1] = value
          end
        end
      end
      m.score = string.format("%.0f", deadline_ms) .. string.sub(score, -3)
      scores[2 * i - 1], scores[2 * i] = m.score, m.stamp .. m.group
    end
    if scores then
      redis.call("ZADD", inflight, unpack(scores))
      redis.call("SET", attempt, cjson.encode(messages), "KEEPTTL")
      return {now_ms, topology, 0, 0, "", reply}
    end
  end
end

local reply, scores, seen = {}, {}, {}
local missing_dlq, dlq, dlq_read = "", nil, false
local retention = tonumber(settings[2]) * 1000
local delivered, removed, budget = 0, 0, 100 -- at most so many messages are dropped or moved in one call
local moved = false

while delivered < count and budget > 0 do
  local head = redis.call("ZPOPMIN", available)
  if #head == 0 then
    break
  end
  local group = head[1]
  local list = fifo.list(q, group)
  local span = count - delivered
  local entries = redis.call("LRANGE", list, "0", 2 * span - 1)
  local members, stamps = {}, {}
  for i = 1, #entries, 2 do
    local stamp = string.sub(entries[i], 1, 16)
    stamps[#stamps + 1] = stamp
    members[#members + 1] = stamp .. group
  end
  local flights = #members > 1 and redis.call("ZMSCORE", inflight, unpack(members)) or {}
  local histories = redis.call("HMGET", states, unpack(stamps))
  local index, taken, stopped = 0, 0, false -- index: where the message is in the list now
  for i = 1, #stamps do
    local key, record, stamp, member = entries[2 * i - 1], entries[2 * i], stamps[i], members[i]
    local receives, first = 0, now
    if histories[i] then
      receives, first = string.match(histories[i], "^(%d+)/(%d+)")
      receives = tonumber(receives)
    end
    if flights[i] or (#key > 16 and fifo.is_delayed(q, key, member)) then
      stopped = true
      break
    elseif fifo.born_ms(key) + retention < now_ms then
      fifo.remove_at(list, index)
      redis.call("HDEL", states, stamp)
      removed, budget = removed + 1, budget - 1
    else
      local over = false
      if receives > 0 then
        if not dlq_read then
          dlq, dlq_read = deadletter.policy(meta), true
        end
        over = dlq and receives >= dlq.max_receives
      end
      if over and not dlq.missing then
        local first_before, total = fifo.history(key)
        local letter = string.format("%s/%s/%.0f/%s/%s", stamp, first_before or first, receives + tonumber(total or "0"),
          now, string.match(meta, "([^:]+):meta$"))
        fifo.remove_at(list, index)
        redis.call("HDEL", states, stamp)
        deadletter.push_fifo(dlq, group, letter, record, now_us)
        moved = true
        removed, budget = removed + 1, budget - 1
      elseif over and not dlq.suspended(now_ms) then
        missing_dlq = dlq.name
        stopped = true
        break
      else
        local first_before, total = fifo.history(key)
        for _, value in ipairs({key, group, receives + 1 + tonumber(total or "0"), first_before or first, now, record}) do
          reply[#reply + 1] = value
        end
        if ARGV[7] == "1" then
          fifo.remove_at(list, index)
          redis.call("HDEL", states, stamp)
          removed = removed + 1
        else
          seen[#seen + 1] = stamp
          seen[#seen + 1] = string.format("%.0f/%s/%s", receives + 1, first, now_us)
          if visibility > 0 then
            scores[#scores + 1] = string.format("%.0f%03d", deadline_ms, math.min(receives + 1, 999))
            scores[#scores + 1] = member
          end
          index = index + 1
        end
        taken = taken + 1
        delivered = delivered + 1
      end
    end
  end
  if missing_dlq ~= "" or (taken == 0 and not stopped) then
    -- nothing handed out: the dead-letter queue has to be found, or what stands behind the dropped ones comes next
    if missing_dlq ~= "" then
      redis.call("ZADD", available, head[2], group)
      break
    end
    fifo.offer(q, group)
  elseif index == 0 or visibility == 0 then
    seen.offer = seen.offer or {}
    seen.offer[#seen.offer + 1] = group
  end
end

if removed > 0 then
  redis.call("HINCRBY", meta, "messages", -removed)
end
if moved then
  bell.ring(dlq.base .. "bell")
end
if #seen > 0 then
  redis.call("HSET", states, unpack(seen))
end
if #scores > 0 then
  redis.call("ZADD", inflight, unpack(scores))
end
for _, group in ipairs(seen.offer or {}) do
  fifo.offer(q, group)
end
if attempt and #scores > 0 then
  local saved = {received = now_ms, expires = now_ms + 300000}
  for i = 1, #scores, 2 do
    local j = (i - 1) / 2 * 6
    saved[#saved + 1] = {stamp = string.sub(scores[i + 1], 1, 16), group = string.sub(scores[i + 1], 17), score = scores[i],
      receives = reply[j + 3], first = reply[j + 4]}
  end
  redis.call("SET", attempt, cjson.encode(saved), "PX", "300000")
end

if delivered > 0 then
  if ARGV[5] ~= "" then
    bell.leave(token, keeper, ARGV[5])
  end
  if redis.call("EXISTS", token) == 0 then -- somebody may be waiting
    local guarded = bell.guarded(keeper, now_ms)
    if not guarded or guarded > deadline_ms or again or redis.call("EXISTS", available) == 1 then
      redis.call("RPUSH", token, "1")
    end
  end
  return {now_ms, topology, 0, 0, missing_dlq, reply}
end

local wake_at, wait_until = now_ms, now_ms
if not ((again or budget <= 0) and count > 0) then -- else there is more to expire or drop: the caller comes again at once
  wake_at, wait_until = bell.rest(q, ARGV[4], now_ms, function()
    return count > 0 and fifo.next_due(q, queue_delay) or nil
  end, ARGV[5])
end
return {now_ms, topology, wake_at, wait_until, missing_dlq, reply}
