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
       4 refused        "" or, from a sender that the group's old partition refused, the stamp it told
       5... record, group, dedup, due, window_ms per message
            dedup "=id" given, "#id" from the content, "" none; due "" = the queue's DelaySeconds, "+ms", "@ms"
RETURN {outcome ...}: the message's stamp, or "=stamp" of the message it duplicates
       PARTITION_MOVED tells the stamp of the partition's newest message, which those of the group have to follow
ERRORS QUEUE_NOT_FOUND, MESSAGE_TOO_LARGE, DEDUPLICATION_ID_REQUIRED, PARTITION_MOVED
]]
local call = redis.call
local meta, token = KEYS[1], KEYS[3]
local settings = call("HMGET", meta, "MaximumMessageSize", "ContentBasedDeduplication", "DeduplicationScope",
  "last", "messages", "special")
if not settings[1] then
  return redis.error_reply("QUEUE_NOT_FOUND " .. meta)
end
if tonumber(ARGV[2]) > tonumber(settings[1]) then
  return redis.error_reply("MESSAGE_TOO_LARGE " .. settings[1])
end
local by_content, by_group = settings[2] == "true", settings[3] == "messageGroup"
if ARGV[3] == "1" and not by_content then
  for i = 7, #ARGV, 5 do
    if string.sub(ARGV[i], 1, 1) ~= "=" then
      return redis.error_reply("DEDUPLICATION_ID_REQUIRED " .. meta)
    end
  end
end

local now_us = require("lib.clock")(ARGV[1])
local last, messages = settings[4] or "", settings[5] or "0"
local base = string.sub(meta, 1, -5)
local special = settings[6]
  and call("HMGET", meta, "DelaySeconds", "DeduplicationWindow", "paused_groups", "partition", "before")
-- The key that remembers a deduplication id, or nil if there is none.
local function memory(dedup, group)
  return dedup ~= "" and (by_content or string.sub(dedup, 1, 1) == "=")
    and base .. "dedup:" .. #dedup .. ":" .. string.sub(dedup, 2) .. ":" .. (by_group and group or "") or nil
end
if special and special[4] then
  for i = 5, #ARGV, 5 do
    local group = ARGV[i + 1]
    local function is_there()
      local name = memory(ARGV[i + 2], group)
      return call("EXISTS", base .. "group:" .. group) == 1 or name and call("EXISTS", name) == 1
    end
    if not require("lib.partition")(special[4], special[5], group, ARGV[4] ~= "", is_there) then
      return redis.error_reply("PARTITION_MOVED " .. (last ~= "" and last or "0"))
    end
  end
  if ARGV[4] > last then
    last = ARGV[4]
  end
end
local queue_delay = special and tonumber(special[1] or "0") * 1000 or 0
local default_window = special and special[2] and special[2] * 1000 or 300000
local reply, visible, earliest = {}, false, nil

for i = 5, #ARGV, 5 do
  local group, dedup, due = ARGV[i + 1], ARGV[i + 2], ARGV[i + 3]
  local stamp = now_us
  if stamp <= last then
    stamp = string.format("%.0f", tonumber(last) + 1)
  end

  local duplicate_of
  local name = memory(dedup, group)
  if name then
    local window = ARGV[i + 4] ~= "" and tonumber(ARGV[i + 4]) or default_window
    if window > 0 and not call("SET", name, stamp, "NX", "PX", window) then
      duplicate_of = require("lib.dedup")(meta, name, stamp, window, now_us)
    end
  end

  if duplicate_of then
    reply[#reply + 1] = "=" .. duplicate_of
  else
    last = stamp
    messages = messages + 1
    local key, due_ms = stamp, nil
    if due ~= "" or queue_delay > 0 then
      key, due_ms = require("lib.postpone")(base, stamp, group, due, queue_delay, now_us)
    end
    local length = call("RPUSH", base .. "group:" .. group, key, ARGV[i])
    if due_ms then
      earliest = math.min(due_ms, earliest or due_ms)
    elseif length == 2 then
      if special then
        visible = require("lib.offer")(base, group) or visible
      else
        call("ZADD", KEYS[2], stamp, group)
        visible = true
      end
    end
    reply[#reply + 1] = stamp
  end
end
call("HSET", meta, "last", last, "messages", messages)

if visible then
  if call("EXISTS", token) == 0 then -- ring the bell
    call("RPUSH", token, "1")
  end
elseif earliest then
  require("lib.bell").ring_for(token, KEYS[4], tonumber(string.sub(now_us, 1, 13)), earliest)
end
return reply
