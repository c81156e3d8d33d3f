--[[
Read a queue's tags (ListQueueTags).

KEYS   1 meta  HASH  queue attributes
       2 tags  HASH  tag -> value
ARGV   -
RETURN {tag, value, ...}
ERRORS QUEUE_NOT_FOUND
BOUND  2 calls, 4 MiB
]]
if redis.call("HEXISTS", KEYS[1], "VisibilityTimeout") == 0 then
  return redis.error_reply("QUEUE_NOT_FOUND " .. KEYS[1])
end
return redis.call("HGETALL", KEYS[2])
