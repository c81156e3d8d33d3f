--[[
Send messages to a standard queue (SendMessage, SendMessageBatch): all of them, or none.

KEYS   1 slot   STRING  the caller's call slot (lib/idempotency.lua)
       2 meta   HASH    queue attributes
       3 ready  LIST    key, record, key, record ... in sending order
       4 wakeups LIST    wakeup token
ALSO   store delayed dedup:ID group:NAME fair_ring paused timer backup wake:WAITER stats timeline
ARGV   1 now_us    "" = the server's clock
       2 max_size  the largest message of this call, bytes
       3 options   2 or 6: how many arguments each message has; 6/TOKEN with the migration token that the ids' old
                   partition gave the sender for the new one (lib/partition.lua); "c" behind it: check the settings of
                   the queue first, as a receive could not use damaged ones; an "r" in the end: the call is repeated
       4... tail, record [, due, group, dedup_id, window_ms]
            due "" = the queue's DelaySeconds, "+ms" = delay, "@ms" = absolute time
RETURN now_us when every message went straight to `ready`, with the topology behind it (in one string) in the home of
       several partitions; else {now_us, topology, outcome ...}: topology changes when the queue's partitions do;
       outcome "" = stored, "!TOKEN" = not for this partition (as send_message_fifo.lua), else the id of the message it
       duplicates
ERRORS QUEUE_NOT_FOUND, QUEUE_DAMAGED, MESSAGE_TOO_LARGE
BOUND  2500 calls, 4 MiB
]]
local call = redis.call
local slot, meta, ready, wakeups = KEYS[1], KEYS[2], KEYS[3], KEYS[4]
local size, options, tail = ARGV[2], ARGV[3], ARGV[4]
local SLOT_MS, ZERO = "120000", 48 -- lib/idempotency.lua; the byte "0"

-- Common are messages that are visible at once, without group and deduplication, to a plain queue (lib/settings.lua).
local size_limit = call("HGET", meta, "plain")
if not size_limit or options ~= "2" then
  local first, repeated = string.match(options, "^(.-)(r?)$")
  ARGV[3] = first
  return require("lib.idempotency").run(require("lib.send_slow"), tail .. repeated)
end
local limit, topology, counts_bytes = size_limit, "", false
if string.byte(size_limit) < ZERO then -- it counts bytes, or is the home of several partitions
  local plus
  plus, topology, limit = string.match(size_limit, "^(%+?)/?([%d:]*) (%d+)$")
  counts_bytes = plus ~= ""
end
if (#size > 3 or #limit < 4) and tonumber(size) > tonumber(limit) then
  return redis.error_reply("MESSAGE_TOO_LARGE " .. limit)
elseif #size > 3 and tonumber(size) > 4096 then
  require("lib.large").note(string.match(meta, ".*:"), tonumber(size))
end
local now_us = require("lib.clock")(ARGV[1])
local key = now_us .. tail -- of the first message, after whose tail the call is named
local known = call("SET", slot, key, "PX", SLOT_MS, "GET")
if known and string.sub(known, -8) == tail then
  return require("lib.idempotency").again(slot, tail, string.sub(known, 1, -9))
end
if #ARGV == 5 then
  call("RPUSH", ready, key, ARGV[5])
else
  local messages = {}
  for i = 4, #ARGV, 2 do
    messages[i - 3] = now_us .. ARGV[i]
    messages[i - 2] = ARGV[i + 1]
  end
  call("RPUSH", ready, unpack(messages))
end
if counts_bytes then
  local bytes = 0
  for i = 5, #ARGV, 2 do
    bytes = bytes + #ARGV[i]
  end
  local text = bytes < 1e8 and bytes or string.format("%d", bytes) -- larger numbers may become "1e+8"
  redis.pcall("HINCRBY", string.sub(meta, 1, -5) .. "stats", "bytes", text)
end
if call("EXISTS", wakeups) == 0 then -- wake a waiter
  call("RPUSH", wakeups, "1")
end
return topology == "" and now_us or now_us .. topology
