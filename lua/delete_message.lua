#!lua flags=allow-oom
--[[
Delete messages of a standard queue (DeleteMessage, DeleteMessageBatch). Deleting what is gone succeeds, and any
receipt of a message deletes it, as in SQS.

KEYS   1 store    HASH  member -> record
       2 inflight ZSET  member -> visible again + receives
ALSO   meta again:NAME delayed moved stats timeline
ARGV   1... member of `inflight`, from the receipt handle; with a mark (lib/timeline.lua) it is found in the library
RETURN how many messages were there; {status ...} if some receipts are refused, see lib/delete_messages.lua
ERRORS QUEUE_NOT_FOUND
BOUND  2500 calls, 4 MiB
]]
local call, argv = redis.call, ARGV
local store, inflight, member = KEYS[1], KEYS[2], argv[1]
local count = #argv
if count == 1 and call("ZREM", inflight, member) == 1 then -- common, and quicker without unpack()
  call("HDEL", store, member)
  return 1
end
local found = count > 1 and call("ZREM", inflight, unpack(argv)) or 0
if found == count then
  call("HDEL", store, unpack(argv))
  return found
end
local base = string.match(store, ".*:")
local deleted, statuses = require("lib.delete_messages")(base, 1, false, found)
if deleted < count and call("EXISTS", base .. "meta") == 0 then
  return redis.error_reply("QUEUE_NOT_FOUND " .. base .. "meta")
end
return statuses or deleted
