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
local inflight = KEYS[3]
local deleted
if #ARGV == 1 then
  local member = ARGV[1]
  deleted = redis.call("ZREM", inflight, member)
  if deleted == 1 then
    redis.call("HDEL", KEYS[2], #member == 37 and string.sub(member, 1, 24) or member) -- lib/message.lua: field()
    return 1
  end
else
  deleted = require("lib.deletion")(KEYS[2], inflight, 1)
end
if deleted < #ARGV and redis.call("EXISTS", KEYS[1]) == 0 then
  return redis.error_reply("QUEUE_NOT_FOUND " .. KEYS[1])
end
return deleted
