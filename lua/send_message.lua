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
local call = redis.call
local meta, ready = KEYS[1], KEYS[2]
local stride = ARGV[3]

local settings = call("HMGET", meta, "MaximumMessageSize", "special")
if not settings[1] then
  return redis.error_reply("QUEUE_NOT_FOUND " .. meta)
end
if tonumber(ARGV[2]) > tonumber(settings[1]) then
  return redis.error_reply("MESSAGE_TOO_LARGE " .. settings[1])
end

local now_us = require("lib.clock")(ARGV[1])

-- The common case: visible at once, no group, no deduplication.
if stride == "2" and not settings[2] then
  if #ARGV == 5 then
    call("RPUSH", ready, now_us .. ARGV[4], ARGV[5])
  else
    local pairs_ = {}
    for i = 4, #ARGV, 2 do
      pairs_[i - 3] = now_us .. ARGV[i]
      pairs_[i - 2] = ARGV[i + 1]
    end
    call("RPUSH", ready, unpack(pairs_))
  end
  if call("EXISTS", KEYS[5]) == 0 then -- ring the bell
    call("RPUSH", KEYS[5], "1")
  end
  return {now_us}
end

return require("lib.sending")(now_us)
