--[[
Send messages to a FIFO queue (SendMessage, SendMessageBatch): all of them in order, or none. Duplicates inside the
deduplication window are answered with the first message's stamp and not stored.

KEYS   1 meta      HASH  queue attributes; last = stamp of the newest message, messages = how many there are
       2 available ZSET  group -> since when its head can be received (us)
       3 bell      LIST  wake token
       4 keeper    STRING who rings for the next due time
ARGV   1 now_us         "" = the server's clock
       2 max_size       the largest message of this call, bytes
       3 require_dedup  "1" = a message needs a deduplication id or ContentBasedDeduplication (SQS's rule)
       4... record, group, dedup, due, window_ms per message
            dedup "=id" given, "#id" from the content, "" none; due "" = the queue's DelaySeconds, "+ms", "@ms"
RETURN {outcome ...}: the message's stamp, or "=stamp" of the message it duplicates
ERRORS QUEUE_NOT_FOUND, MESSAGE_TOO_LARGE, DEDUPLICATION_ID_REQUIRED
]]
local clock = require("lib.clock")
local bell = require("lib.bell")
local deduplication = require("lib.dedup")
local fifo = require("lib.fifo")

local meta, available, token, keeper = unpack(KEYS)
local settings = redis.call("HMGET", meta, "MaximumMessageSize", "ContentBasedDeduplication", "DeduplicationScope",
  "last", "messages", "special")
if not settings[1] then
  return redis.error_reply("QUEUE_NOT_FOUND " .. meta)
end
if tonumber(ARGV[2]) > tonumber(settings[1]) then
  return redis.error_reply("MESSAGE_TOO_LARGE " .. settings[1])
end
local by_content = settings[2] == "true"
if ARGV[3] == "1" and not by_content then
  for i = 4, #ARGV, 5 do
    if string.sub(ARGV[i + 2], 1, 1) ~= "=" then
      return redis.error_reply("DEDUPLICATION_ID_REQUIRED " .. meta)
    end
  end
end

local now_us = clock.now_us(ARGV[1])
local now_ms = tonumber(string.sub(now_us, 1, 13))
local by_group = settings[3] == "messageGroup"
local last, messages = settings[4] or "", tonumber(settings[5] or "0")
local q = fifo.open(meta)
local queue_delay, default_window = 0, "300"
if settings[6] then
  local special = redis.call("HMGET", meta, "DelaySeconds", "DeduplicationWindow", "paused_groups")
  queue_delay, default_window = tonumber(special[1] or "0") * 1000, special[2] or "300"
  q.paused_groups = special[3] or false
else
  q.paused_groups = false
end

local reply = {}
local visible, earliest
for i = 4, #ARGV, 5 do
  local group, dedup, due, window = ARGV[i + 1], ARGV[i + 2], ARGV[i + 3], ARGV[i + 4]
  local stamp = now_us
  if stamp <= last then
    stamp = string.format("%.0f", tonumber(last) + 1)
  end

  local duplicate_of
  if dedup ~= "" and (by_content or string.sub(dedup, 1, 1) == "=") then
    local name = q.base .. "dedup:" .. #dedup .. ":" .. string.sub(dedup, 2) .. ":" .. (by_group and group or "")
    local span = window ~= "" and tonumber(window) or tonumber(default_window) * 1000
    if span > 0 then
      duplicate_of = deduplication.claim(meta, name, stamp, span, now_ms)
    end
  end

  if duplicate_of then
    reply[#reply + 1] = "=" .. duplicate_of
  else
    last = stamp
    messages = messages + 1
    local key, member = stamp, stamp .. group
    local due_ms
    if due ~= "" then
      due_ms = tonumber(string.sub(due, 2)) + (string.sub(due, 1, 1) == "+" and now_ms or 0)
      if due_ms > now_ms then
        key = stamp .. "+" .. string.format("%.0f", due_ms)
        redis.call("ZADD", q.delayed, string.format("%.0f", due_ms), member)
        redis.call("HSET", meta, "delays", "1")
      else
        due_ms = nil
      end
    elseif queue_delay > 0 then
      due_ms = now_ms + queue_delay
      key = stamp .. "q"
      redis.call("ZADD", q.postponed, string.sub(stamp, 1, 13), member)
      redis.call("HSET", meta, "delays", "1")
    end
    local length = redis.call("RPUSH", fifo.list(q, group), key, ARGV[i])
    if due_ms then
      if not earliest or due_ms < earliest then
        earliest = due_ms
      end
    elseif length == 2 then
      if q.paused_groups then
        visible = fifo.offer(q, group) or visible
      else
        redis.call("ZADD", available, stamp, group)
        visible = true
      end
    end
    reply[#reply + 1] = stamp
  end
end
redis.call("HSET", meta, "last", last, "messages", messages)

if visible then
  bell.ring(token)
elseif earliest then
  bell.ring_for(token, keeper, now_ms, earliest)
end
return reply
