--[[
Send messages to a FIFO queue (SendMessage, SendMessageBatch): all of them in order, or none. Duplicates inside the
deduplication window are answered with the first message's stamp and not stored.

KEYS   1 slot      STRING the caller's last call (lib/idempotency.lua)
       2 meta      HASH   queue attributes; last = stamp of the newest message, messages = how many there are
       3 available ZSET   group -> since when its head can be received (us)
       4 wakeups   LIST   wakeup token
       5 timer     STRING who wakes somebody at the next due time
ARGV   1 number         of the call
       2 now_us         "" = the server's clock
       3 max_size       the largest message of this call, bytes
       4 require_dedup  "1" = a message needs a deduplication id or ContentBasedDeduplication (SQS's rule), with a window
                        that outlasts all repetitions of a call: then the call needs no slot
       5 pass           "", or what the groups' old partition gave the sender for the new one (lib/partition.lua); "c" = none,
                        and check the settings of the queue first: a receive could not use damaged ones
       6... record, group, dedup, due, window_ms per message
            dedup "=id" given, "#id" from the content, "" none; due "" = the queue's DelaySeconds, "+ms", "@ms"
RETURN {outcome ...}: the message's stamp, "=stamp" of the message it duplicates, or, if it is not for this partition,
       "!" and a pass for the group's new one ("" = another one has to be asked). The group goes as a whole
ERRORS QUEUE_NOT_FOUND, QUEUE_DAMAGED, MESSAGE_TOO_LARGE, DEDUPLICATION_ID_REQUIRED
BOUND  2000 calls, 4 MiB
]]
local call = redis.call
local slot, meta, token = KEYS[1], KEYS[2], KEYS[4]
local settings = call("HMGET", meta, "MaximumMessageSize", "ContentBasedDeduplication", "DeduplicationScope",
  "last", "messages", "special")
if ARGV[5] == "c" then
  local refused = require("lib.damaged").for_receivers(meta)
  if refused then
    return refused
  end
end
if not settings[1] then
  return redis.error_reply("QUEUE_NOT_FOUND " .. meta)
end
if tonumber(ARGV[3]) > tonumber(settings[1]) then
  return redis.error_reply("MESSAGE_TOO_LARGE " .. settings[1])
end
local by_content, by_group = settings[2] == "true", settings[3] == "messageGroup"
if ARGV[4] == "1" and not by_content then
  for i = 8, #ARGV, 5 do
    if string.sub(ARGV[i], 1, 1) ~= "=" then
      return redis.error_reply("DEDUPLICATION_ID_REQUIRED " .. meta)
    end
  end
end

if #ARGV[3] > 3 then -- at 4,096 bytes they begin
  require("lib.large").note(meta, tonumber(ARGV[3]))
end
local now_us = require("lib.clock")(ARGV[2])
local last, messages = settings[4] or "", settings[5] or "0"
local base = string.sub(meta, 1, -5)
local special = settings[6] and call("HMGET", meta, "DelaySeconds", "DeduplicationWindow", "paused_groups", "partition")
local partition = special and special[4]
local stamp_of_pass = partition and string.match(ARGV[5], ":(%d+)$")
if stamp_of_pass and stamp_of_pass > last then -- sequence numbers of a group grow, wherever it is
  last = stamp_of_pass
end
local queue_delay = special and tonumber(special[1] or "0") * 1000 or 0
local default_window = special and special[2] and special[2] * 1000 or 300000
local number = string.sub(ARGV[1], 1, 8)
local needs_slot = ARGV[4] ~= "1" or default_window < 120000
local known = needs_slot and call("GET", slot)
if known and string.sub(known, -8) == number then
  return require("lib.idempotency").again(slot, known)
end
local reply, visible, earliest, mine = {}, false, nil, {}

for i = 6, #ARGV, 5 do
  local group, dedup, due = ARGV[i + 1], ARGV[i + 2], ARGV[i + 3]
  local place = partition and require("lib.partition")(partition, group, ARGV[5]) or "here"
  local is_old = place == "old" and call("EXISTS", base .. "group:" .. group) == 1
  local stamp = now_us
  if stamp <= last then
    stamp = string.format("%.0f", tonumber(last) + 1)
  end

  local duplicate_of
  -- The key that remembers the deduplication id, if there is one.
  local name = dedup ~= "" and (by_content or string.sub(dedup, 1, 1) == "=")
    and base .. "dedup:" .. #dedup .. ":" .. string.sub(dedup, 2) .. ":" .. (by_group and group or "")
  if name and place ~= "elsewhere" then
    local window = ARGV[i + 4] ~= "" and tonumber(ARGV[i + 4]) or default_window
    if place == "old" or ARGV[i + 4] ~= "" then
      require("lib.dedup_carry_over")(meta, place, is_old, window, now_us)
    end
    if window > 0 and (place == "here" or is_old) then
      if not call("SET", name, stamp .. number, "NX", "PX", window) then
        duplicate_of = require("lib.deduplication")(meta, name, stamp .. number, window, now_us)
      end
      if #ARGV[1] > 8 then -- repeated: the first attempt may arrive long after
        call("PEXPIRE", name, math.max(window, 3600000))
      end
    elseif window > 0 and call("EXISTS", name) == 1 then
      duplicate_of = require("lib.deduplication")(meta, name, nil, window, now_us)
    end
  end

  if duplicate_of then
    local is_mine = false
    if #ARGV[1] > 8 then -- the call is repeated
      is_mine = string.sub(duplicate_of, 17) == number and not mine[name]
      mine[name] = true
    end
    reply[#reply + 1] = (is_mine and "" or "=") .. string.sub(duplicate_of, 1, 16)
  elseif place == "elsewhere" then
    reply[#reply + 1] = "!"
  elseif place == "old" and not is_old then
    reply[#reply + 1] = "!" .. string.match(partition, "/(%d+)") .. ":" .. (last ~= "" and last or "0")
  else
    last = stamp
    messages = messages + 1
    local key, due_ms = stamp, nil
    if due ~= "" or queue_delay > 0 then
      key, due_ms = require("lib.delay_fifo")(base, stamp, group, due, queue_delay, now_us)
    end
    local length = call("RPUSH", base .. "group:" .. group, key, ARGV[i])
    if due_ms then
      earliest = math.min(due_ms, earliest or due_ms)
    elseif length == 2 then -- it is the head
      if special and special[3] then
        visible = require("lib.make_available")(base, group) or visible
      else
        call("ZADD", KEYS[3], stamp, group)
        visible = true
      end
    end
    reply[#reply + 1] = stamp
  end
end
if last ~= "" then
  call("HSET", meta, "last", last, "messages", messages)
end

if visible then
  if call("EXISTS", token) == 0 then -- ring the wakeups
    call("RPUSH", token, "1")
  end
elseif earliest then
  require("lib.wakeups").wake_for(base, tonumber(string.sub(now_us, 1, 13)), earliest)
end
if needs_slot then
  call("SET", slot, "=" .. cmsgpack.pack(reply) .. number, "PX", #ARGV[1] > 8 and "3600000" or "120000")
end
return reply
