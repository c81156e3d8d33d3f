#!lua flags=allow-oom
--[[
Delete messages of a standard queue (DeleteMessage, DeleteMessageBatch). Deleting what is gone succeeds, and any
receipt of a message deletes it, as in SQS.

KEYS   1 meta     HASH  queue attributes
       2 store    HASH  member -> record
       3 inflight ZSET  member -> visible again + receives
ALSO   again:NAME delayed moved stats timeline
ARGV   1... member of `inflight`, from the receipt handle; with a mark (lib/timeline.lua) it is found in the library
RETURN how many messages were there; {status ...} if some receipts are refused, see lib/delete_messages.lua
ERRORS QUEUE_NOT_FOUND
BOUND  2500 calls, 4 MiB
]]
local store, inflight = KEYS[2], KEYS[3]
if #ARGV == 1 and redis.call("ZREM", inflight, ARGV[1]) == 1 then -- common, and quicker without unpack()
  redis.call("HDEL", store, ARGV[1])
  return 1
end
local found = #ARGV > 1 and redis.call("ZREM", inflight, unpack(ARGV)) or 0
if found == #ARGV then
  redis.call("HDEL", store, unpack(ARGV))
  return found
end
local meta = KEYS[1]
local deleted, statuses = require("lib.delete_messages")(string.match(meta, ".*:"), 1, false, found)
if deleted < #ARGV and redis.call("EXISTS", meta) == 0 then
  return redis.error_reply("QUEUE_NOT_FOUND " .. meta)
end
return statuses or deleted
