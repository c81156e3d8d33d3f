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
local meta, store, inflight = KEYS[1], KEYS[2], KEYS[3]
local deleted
if #ARGV == 1 then
  local member = ARGV[1]
  deleted = redis.call("ZREM", inflight, member)
  if deleted == 1 then
    redis.call("HDEL", store, #member == 37 and string.sub(member, 1, 24) or member)
    return 1
  end
else
  deleted = redis.call("ZREM", inflight, unpack(ARGV))
  if deleted > 0 then
    local fields = {}
    for i = 1, #ARGV do
      local member = ARGV[i]
      fields[i] = #member == 37 and string.sub(member, 1, 24) or member -- lib/message.lua: message.field()
    end
    redis.call("HDEL", store, unpack(fields))
  end
end
if deleted < #ARGV and redis.call("EXISTS", meta) == 0 then
  return redis.error_reply("QUEUE_NOT_FOUND " .. meta)
end
return deleted
