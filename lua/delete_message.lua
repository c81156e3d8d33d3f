#!lua flags=allow-oom
--[[
Delete messages of a standard queue (DeleteMessage, DeleteMessageBatch). Deleting what is gone succeeds, and any
receipt of a message deletes it, as in SQS.

KEYS   1 meta     HASH  queue attributes
       2 store    HASH  key -> record
       3 inflight ZSET  member -> visible again + receives
ARGV   1... member of `inflight`, from the receipt handle
RETURN how many messages were there
ERRORS QUEUE_NOT_FOUND
]]
local message = require("lib.message")

local meta, store, inflight = unpack(KEYS)
local deleted = redis.call("ZREM", inflight, unpack(ARGV))
if #ARGV == 1 then
  if deleted == 1 then
    redis.call("HDEL", store, message.field(ARGV[1]))
    return 1
  end
elseif deleted > 0 then
  local fields = {}
  for i = 1, #ARGV do
    fields[i] = message.field(ARGV[i])
  end
  redis.call("HDEL", store, unpack(fields))
end
if deleted < #ARGV and redis.call("EXISTS", meta) == 0 then
  return redis.error_reply("QUEUE_NOT_FOUND " .. meta)
end
return deleted
