--[[
Send messages to a standard queue (SendMessage, SendMessageBatch): all of them, or none.

KEYS   1 slot   STRING  the caller's call slot (lib/idempotency.lua)
       2 meta   HASH    queue attributes
       3 ready  LIST    key, record, key, record ... in sending order
       4 wakeups LIST    wakeup token
ALSO   store delayed dedup:ID group:NAME fair_ring paused timer backup wake:WAITER stats timeline
ARGV   1 max_size  the largest message of this call, bytes
       2 how       "" = nothing of the following, else NOW_US/STRIDE/OPTIONS, and an "r" in the end: the call is
                   repeated. NOW_US "" = the server's clock; STRIDE 2 or 6: how many arguments each message has; OPTIONS
                   = the migration token that the ids' old partition gave the sender for the new one
                   (lib/partition.lua), or "", and "c" behind it: check the settings of the queue first, as a receive
                   could not use damaged ones
       3... tail, record [, due, group, dedup_id, window_ms]
            due "" = the queue's DelaySeconds, "+ms" = delay, "@ms" = absolute time
RETURN now_us when every message is visible at once, with the topology behind it (in one string) in the home of
       several partitions; else {now_us, topology, outcome ...}: topology changes when the queue's partitions do;
       outcome "" = stored, "!TOKEN" = not for this partition (as send_message_fifo.lua), else the id of the message it
       duplicates
ERRORS QUEUE_NOT_FOUND, QUEUE_DAMAGED, MESSAGE_TOO_LARGE
BOUND  2500 calls, 4 MiB
]]
local call, keys, argv = redis.call, KEYS, ARGV
local slot, meta, ready, wakeups = keys[1], keys[2], keys[3], keys[4]
local size, how, tail = argv[1], argv[2], argv[3]
local SLOT_MS, ZERO = "120000", 48 -- lib/idempotency.lua; the byte "0"
local DEFAULT_LIMIT = "1048576"

-- Common are messages that are visible at once, without group and deduplication, to a plain queue (lib/settings.lua).
local size_limit, stride, fair = call("HGET", meta, "plain"), 2, nil
local given_us = how == "" and how or string.match(how, "^(%d*)/2/$")
if not size_limit or not given_us then
  fair = not size_limit and call("HGET", meta, "sends") -- also with groups, to a fair queue
  given_us, stride = string.match(how == "" and "/2/" or how, "^(%d*)/([26])/$")
  for i = 5, stride == "6" and #argv or 0, 6 do
    fair = fair and argv[i] == "" and argv[i + 2] == "" and fair -- neither due time nor deduplication id
  end
  if not fair or not given_us then
    return require("lib.idempotency").run(require("lib.send_slow"), tail .. string.match(how, "r?$"))
  end
  size_limit, stride = fair, tonumber(stride)
end
local limit, topology, counts_bytes = size_limit, "", false
if size_limit ~= DEFAULT_LIMIT and string.byte(size_limit) < ZERO then -- it counts bytes, or has further partitions
  local plus
  plus, topology, limit = string.match(size_limit, "^(%+?)/?([%d:]*) (%d+)$")
  counts_bytes = plus ~= ""
end
if (#size > 3 or #limit < 4) and tonumber(size) > tonumber(limit) then
  return redis.error_reply("MESSAGE_TOO_LARGE " .. limit)
elseif #size > 3 and tonumber(size) > 4096 then
  require("lib.large").note(string.match(meta, ".*:"), tonumber(size))
end
local now_us = require("lib.clock")(given_us)
local key = now_us .. tail -- of the first message, after whose tail the call is named
local known = call("SET", slot, key, "PX", SLOT_MS, "GET") -- of the same length if that call was not repeated
if known and #known ~= #key and string.sub(known, -8) == tail then -- its repetition came first
  return require("lib.idempotency").again(slot, tail, string.sub(known, 1, -9))
end
if fair then
  local refused = require("lib.send_fair")(string.sub(meta, 1, -5), now_us, stride)
  if refused then
    call("DEL", slot) -- an error is no answer
    return refused
  end
elseif #argv == 4 then
  call("RPUSH", ready, key, argv[4])
else
  local messages = {unpack(argv, 3)}
  for i = 1, #messages, 2 do
    messages[i] = now_us .. messages[i]
  end
  call("RPUSH", ready, unpack(messages))
end
if counts_bytes then
  local bytes = 0
  for i = 4, #argv, stride do
    bytes = bytes + #argv[i]
  end
  local text = bytes < 1e8 and bytes or string.format("%d", bytes) -- larger numbers may become "1e+8"
  redis.pcall("HINCRBY", string.sub(meta, 1, -5) .. "stats", "bytes", text)
end
if call("EXISTS", wakeups) == 0 then -- wake a waiter
  call("RPUSH", wakeups, "1")
end
return topology == "" and now_us or now_us .. topology
