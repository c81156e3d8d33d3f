#!lua flags=allow-oom
--[[
Delete messages of a standard queue (DeleteMessage, DeleteMessageBatch). Deleting what is gone succeeds, and any
receipt of a message deletes it, as in SQS.

KEYS   1 meta     HASH  queue attributes
       2 store    HASH  member -> record
       3 inflight ZSET  member -> visible again + receives
ARGV   1... member of `inflight`, from the receipt handle
RETURN how many messages were there; {status ...} if some receipts are refused, see lib/delete_messages.lua
ERRORS QUEUE_NOT_FOUND
BOUND  2500 calls, 4 MiB
]]
if #ARGV == 1 and redis.call("ZREM", KEYS[3], ARGV[1]) == 1 then
  redis.call("HDEL", KEYS[2], ARGV[1])
  return 1
end
local deleted, statuses = require("lib.delete_messages")(string.sub(KEYS[1], 1, -5), 1)
if deleted < #ARGV and redis.call("EXISTS", KEYS[1]) == 0 then
  return redis.error_reply("QUEUE_NOT_FOUND " .. KEYS[1])
end
return statuses or deleted
