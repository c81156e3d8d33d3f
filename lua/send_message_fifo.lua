--[[
Send messages to a FIFO queue (SendMessage, SendMessageBatch): all of them in order, or none. Duplicates inside the
deduplication window are answered with the first message's stamp and not stored.

KEYS   1 slot      STRING the caller's call slot (lib/idempotency.lua)
       2 meta      HASH   queue attributes; last = stamp of the newest message, messages = how many there are, bytes =
                          of all that were sent
       3 available ZSET   group -> since when its head can be received (us)
       4 wakeups   LIST   wakeup token
ALSO   group:NAME inflight state delayed postponed paused dedup:ID timer backup wake:WAITER stats timeline
ARGV   1 number         of the call; an "r" behind it: it is repeated
       2 now_us         "" = the server's clock
       3 max_size       the largest message of this call, bytes
       4 options        "1" = a message needs a deduplication id or ContentBasedDeduplication (SQS's rule), with a
                        window that outlasts all repetitions of a call: then the call needs no slot; "+" behind it:
                        messages have due and window_ms; "c": check the settings of the queue first, as a receive could
                        not use damaged ones; /TOKEN: the migration token that the groups' old partition gave the sender
                        for the new one (lib/partition.lua)
       5... record, group, dedup [, due, window_ms] per message
            dedup "=LENGTH:id" given, "#LENGTH:id" from the content, "" none; due "" = the queue's DelaySeconds,
            "+ms", "@ms"
RETURN {outcome ...}: the message's stamp, "=stamp" of the message it duplicates, or, if it is not for this partition,
       "!" and a migration token for the group's new one ("" = another one has to be asked). The group goes as a whole
ERRORS QUEUE_NOT_FOUND, QUEUE_DAMAGED, MESSAGE_TOO_LARGE, DEDUPLICATION_ID_REQUIRED
BOUND  2000 calls, 4 MiB
]]
local call = redis.call
local slot, meta, available, wakeups = KEYS[1], KEYS[2], KEYS[3], KEYS[4]
local argv = ARGV
local now_arg, size, options = argv[2], argv[3], argv[4]
local all_have_ids, stride, checks, token = options == "1", 3, false, ""
if options ~= "" and options ~= "1" then
  local require_ids, more, check
  require_ids, more, check, token = string.match(options, "^(1?)(%+?)(c?)/?(.*)$")
  all_have_ids, stride, checks = require_ids ~= "", more ~= "" and 5 or 3, check ~= ""
end
local number, is_repeated = string.sub(ARGV[1], 1, 8), #ARGV[1] > 8 -- lib/idempotency.lua
local SLOT_MS, KEPT_REPEATED_MS = 120000, 3600000 -- the same

-- One field while nothing is out of the ordinary (lib/settings.lua), else many.
local sends, last, messages, bytes = unpack(call("HMGET", meta, "sends", "last", "messages", "bytes"))
local limit, by_content, by_group, delay, window, paused_groups, partition, has_timeline
if checks then
  local refused = require("lib.damaged").for_receivers(meta)
  if refused then
    return refused
  end
  sends = nil -- look at the settings themselves
end
if sends and string.byte(sends) < 58 then -- a digit
  limit = sends
elseif sends then
  by_content, by_group, limit = string.match(sends, "^(c?)(g?)(%d+)$")
  by_content, by_group = by_content == "c", by_group == "g"
end
if not limit then
  limit, by_content, by_group, delay, window, paused_groups, partition, has_timeline = unpack(call("HMGET", meta,
    "MaximumMessageSize", "ContentBasedDeduplication", "DeduplicationScope", "DelaySeconds", "DeduplicationWindow",
    "paused_groups", "partition", "Timeline"))
  by_content, by_group = by_content == "true", by_group == "messageGroup"
end
if not limit then
  return redis.error_reply("QUEUE_NOT_FOUND " .. meta)
elseif (#size > 3 or #limit < 4) and tonumber(size) > tonumber(limit) then -- else it is small
  return redis.error_reply("MESSAGE_TOO_LARGE " .. limit)
end
if all_have_ids and not by_content then
  for i = 7, #argv, stride do
    if string.sub(argv[i], 1, 1) ~= "=" then
      return redis.error_reply("DEDUPLICATION_ID_REQUIRED " .. meta)
    end
  end
end

local base = string.sub(meta, 1, -5)
if #size > 3 and tonumber(size) > 4096 then
  require("lib.large").note(base, tonumber(size))
end
local now_us = require("lib.clock")(now_arg)
last, messages, bytes = last or "", tonumber(messages) or 0, tonumber(bytes) or 0
local timeline = has_timeline and require("lib.timeline")
local queue_delay_ms, queue_window_ms = (delay or 0) * 1000, window and window * 1000 or 300000
local stamp_of_token = partition and string.match(token, ":(%d+)$")
if stamp_of_token and stamp_of_token > last then -- sequence numbers of a group grow, wherever it is
  last = stamp_of_token
end
local needs_slot = not all_have_ids or queue_window_ms < SLOT_MS
local known = needs_slot and call("GET", slot)
if known and string.sub(known, -8) == number then
  return require("lib.idempotency").again(slot, number, string.sub(known, 1, -9))
end
local reply, earliest_ms, mine, duplicates, newest = {}, nil, {}, 0, last
local run, heads, visible -- list, key, record ... of messages in a row of one group; stamp, group of new heads

local due, own_window = "", ""
for i = 5, #argv, stride do
  local record, group, dedup = argv[i], argv[i + 1], argv[i + 2]
  if stride == 5 then
    due, own_window = argv[i + 3], argv[i + 4]
  end
  local place = partition and require("lib.partition").place(partition, group, token) or "here"
  local is_old = place == "old" and call("EXISTS", base .. "group:" .. group) == 1
  local stamp = now_us
  if stamp <= last then
    stamp = string.format("%d", tonumber(last) + 1)
  end

  local duplicate_of
  -- The key that remembers the deduplication id, if there is one.
  local name = dedup ~= "" and (by_content or string.sub(dedup, 1, 1) == "=")
    and base .. "dedup:" .. string.sub(dedup, 2) .. (by_group and ":" .. group or ":")
  if name and place ~= "elsewhere" then
    local window_ms = own_window ~= "" and tonumber(own_window) or queue_window_ms
    if place == "old" or own_window ~= "" then
      require("lib.deduplication").carry_over(base, place, is_old, window_ms, now_us)
    end
    if window_ms > 0 and (place == "here" or is_old) then
      if not call("SET", name, stamp .. number, "NX", "PX", window_ms) then
        duplicate_of = require("lib.deduplication").holder(base, name, stamp .. number, window_ms, now_us)
      end
      if is_repeated then -- the first attempt may arrive long after
        call("PEXPIRE", name, math.max(window_ms, KEPT_REPEATED_MS))
        mine[name] = mine[name] or not duplicate_of -- then it did not arrive before
      end
    elseif window_ms > 0 and call("EXISTS", name) == 1 then
      duplicate_of = require("lib.deduplication").holder(base, name, nil, window_ms, now_us)
    end
  end

  if duplicate_of then
    local first = string.sub(duplicate_of, 1, 16)
    local is_of_call = string.sub(duplicate_of, 17) == number
    local is_mine = is_repeated and is_of_call and not mine[name]
    mine[name] = is_repeated
    reply[#reply + 1] = (is_mine and "" or "=") .. first
    if not is_mine and not (is_of_call and first <= newest) then -- nor one of an attempt that its repetition overtook
      duplicates = duplicates + 1
      if timeline then
        timeline.add(base, "u", first, timeline.caller(slot))
      end
    end
  elseif place == "elsewhere" then
    reply[#reply + 1] = "!"
  elseif place == "old" and not is_old then
    reply[#reply + 1] = "!" .. string.match(partition, "/(%d+)") .. ":" .. (last ~= "" and last or "0")
  else
    last, messages, bytes = stamp, messages + 1, bytes + #record
    local key, due_ms = stamp, nil
    if due ~= "" or queue_delay_ms > 0 then
      key, due_ms = require("lib.due").delay_fifo(base, stamp, group, due, queue_delay_ms, now_us)
      if key.err then
        reply[#reply + 1] = stamp
        return require("lib.take_back")(base, reply, number, stride, by_content, by_group, key)
      end
    end
    if due_ms then
      earliest_ms = math.min(due_ms, earliest_ms or due_ms)
    end
    if run then
      run[#run + 1], run[#run + 2] = key, record
    else
      run = {base .. "group:" .. group, key, record}
    end
    reply[#reply + 1] = stamp
    if timeline then
      timeline.add(base, "s", stamp, timeline.caller(slot), due_ms or 0)
    end
  end
  if run and argv[i + stride + 1] ~= group then
    local length, key = redis.pcall("RPUSH", unpack(run)), run[2]
    if length == #run - 1 and #key == 16 then -- the first of them is the head, and not delayed
      local is_paused = paused_groups and redis.pcall("SISMEMBER", base .. "paused", group) == 1
      if heads and not is_paused then
        heads[#heads + 1], heads[#heads + 2] = key, group
      elseif not is_paused then
        heads = {key, group}
      end
    elseif type(length) == "table" then
      return require("lib.take_back")(base, reply, number, stride, by_content, by_group, length)
    end
    run = nil
  end
end
if heads then
  local added = redis.pcall("ZADD", available, unpack(heads))
  if type(added) ~= "number" then
    return require("lib.take_back")(base, reply, number, stride, by_content, by_group, added)
  end
  visible = true
end
if timeline then
  timeline.write(math.floor(now_us / 1000))
end
if last ~= "" then
  call("HSET", meta, "last", last, "messages", messages, "bytes", bytes)
end
if duplicates > 0 and (needs_slot or call("SET", slot, number, "PX", SLOT_MS, "GET") ~= number) then -- in one attempt
  require("lib.counting").add(base, {dedup = duplicates})
end

if visible then
  if call("EXISTS", wakeups) == 0 then -- wake a waiter
    call("RPUSH", wakeups, "1")
  end
elseif earliest_ms then
  require("lib.wakeups").wake_for(base, math.floor(now_us / 1000), earliest_ms)
end
if checks then -- somebody may have edited the settings
  require("lib.settings").mark(base)
end
if needs_slot then
  local kept_ms = is_repeated and KEPT_REPEATED_MS or SLOT_MS
  call("SET", slot, "=" .. cmsgpack.pack(reply) .. number, "PX", kept_ms)
end
return reply
