--[[
Set and remove a queue's tags (TagQueue, UntagQueue).

KEYS   1 meta  HASH  queue attributes
       2 tags  HASH  tag -> value
ARGV   1 limit     how many tags a queue may have; 0 = no limit
       2 removals  how many tags to remove
       3... tags to remove, then tag, value to set
RETURN 1
ERRORS QUEUE_NOT_FOUND, OVER_LIMIT
]]
local meta, tags = KEYS[1], KEYS[2]
if redis.call("HEXISTS", meta, "VisibilityTimeout") == 0 then
  return redis.error_reply("QUEUE_NOT_FOUND " .. meta)
end
local limit, removals = tonumber(ARGV[1]), tonumber(ARGV[2])
local first = 3 + removals
local total = redis.call("HLEN", tags)
for i = first, #ARGV, 2 do
  total = total + 1 - redis.call("HEXISTS", tags, ARGV[i])
end
if limit > 0 and total > limit then
  return redis.error_reply("OVER_LIMIT tags")
end
for i = 3, first - 1 do
  redis.call("HDEL", tags, ARGV[i])
end
for i = first, #ARGV, 2 do
  redis.call("HSET", tags, ARGV[i], ARGV[i + 1])
end
return 1
