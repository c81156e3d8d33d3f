--[[
Send messages to a standard queue (SendMessage, SendMessageBatch): all of them, or none.

KEYS   1 meta    HASH    queue attributes
       2 ready   LIST    key, record, key, record ... in sending order
       3 store   HASH    key -> record of what is delayed or in flight
       4 delayed ZSET    key -> due (ms * 1000)
       5 bell    LIST    wake token
       6 keeper  STRING  who rings for the next due time
       7 ring    ZSET    message group -> virtual time (fair queues)
ARGV   1 now_us       "" = the server's clock
       2 max_size     the largest message of this call, bytes
       3 stride       2 or 6: how many arguments each message has
       4... tail, record [, due, group, dedup_id, window_ms]
            due "" = the queue's DelaySeconds, "+ms" = delay, "@ms" = absolute time
RETURN {now_us, outcome ...}; outcome "" = stored, else the id of the message it duplicates (none at all when every
       message went straight to `ready`)
ERRORS QUEUE_NOT_FOUND, MESSAGE_TOO_LARGE
]]
local clock = require("lib.clock")
local bell = require("lib.bell")
local deduplication = require("lib.dedup")
local ring = require("lib.ring")

local meta, ready, store, delayed, token, keeper, groups = unpack(KEYS)
local stride = tonumber(ARGV[3])

local settings = redis.call("HMGET", meta, "MaximumMessageSize", "special")
if not settings[1] then
  return redis.error_reply("QUEUE_NOT_FOUND " .. meta)
end
if tonumber(ARGV[2]) > tonumber(settings[1]) then
  return redis.error_reply("MESSAGE_TOO_LARGE " .. settings[1])
end

local now_us = clock.now_us(ARGV[1])

-- The common case: visible at once, no group, no deduplication.
if stride == 2 and not settings[2] then
  if #ARGV == 5 then
    redis.call("RPUSH", ready, now_us .. ARGV[4], ARGV[5])
  else
    local pairs_ = {}
    for i = 4, #ARGV, 2 do
      pairs_[i - 3] = now_us .. ARGV[i]
      pairs_[i - 2] = ARGV[i + 1]
    end
    redis.call("RPUSH", ready, unpack(pairs_))
  end
  if redis.call("EXISTS", token) == 0 then
    redis.call("RPUSH", token, "1")
  end
  return {now_us}
end

local now_ms = tonumber(string.sub(now_us, 1, 13))
local more = redis.call("HMGET", meta, "DelaySeconds", "fair", "DeduplicationWindow")
local queue_delay, fair = tonumber(more[1] or "0") * 1000, more[2]
local base = string.sub(meta, 1, -5)
local reply = {now_us}
local earliest, visible

for i = 4, #ARGV, stride do
  local key, record = now_us .. ARGV[i], ARGV[i + 1]
  local due, group, dedup_id, window = "", "", "", ""
  if stride == 6 then
    due, group, dedup_id, window = ARGV[i + 2], ARGV[i + 3], ARGV[i + 4], ARGV[i + 5]
  end
  local duplicate_of = ""
  if dedup_id ~= "" then
    local name = base .. "dedup:" .. dedup_id
    local span = tonumber(window ~= "" and window or more[3] or "300") * (window ~= "" and 1 or 1000)
    duplicate_of = deduplication.claim(meta, name, key, span, now_ms) or ""
  end
  if duplicate_of == "" then
    local due_ms = now_ms + queue_delay
    if due ~= "" then
      due_ms = tonumber(string.sub(due, 2)) + (string.sub(due, 1, 1) == "+" and now_ms or 0)
    end
    if group ~= "" then
      key = key .. "@" .. group
    end
    if due_ms > now_ms then
      redis.call("HSET", store, key, record)
      redis.call("ZADD", delayed, string.format("%.0f", due_ms * 1000), key)
      if not earliest or due_ms < earliest then
        earliest = due_ms
      end
    else
      if group ~= "" and not fair then
        ring.open(meta, groups, ready)
        fair = "1"
      end
      if fair then
        ring.push(base, groups, ready, group, key, record)
        redis.call("HINCRBY", meta, "grouped", group ~= "" and 1 or 0)
      else
        redis.call("RPUSH", ready, key, record)
      end
      visible = true
    end
  end
  reply[#reply + 1] = duplicate_of
end

if visible then
  bell.ring(token)
elseif earliest then
  bell.ring_for(token, keeper, now_ms, earliest)
end
return reply
