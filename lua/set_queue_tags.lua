--[[
Set and remove a queue's tags (TagQueue, UntagQueue).

KEYS   1 meta  HASH  queue attributes
       2 tags  HASH  tag -> value
ARGV   1 limit     how many tags a queue may have; 0 = no limit
       2 removals  how many tags to remove, up to 1,000, and as many to set
       3... tags to remove, then tag, value to set
RETURN {value or nothing ...}: of each tag named, as it was
ERRORS QUEUE_NOT_FOUND, OVER_LIMIT
BOUND  10 calls, 1 MiB
]]
local meta, tags = KEYS[1], KEYS[2]
if redis.call("HEXISTS", meta, "VisibilityTimeout") == 0 then
  return redis.error_reply("QUEUE_NOT_FOUND " .. meta)
end
local limit, removals = tonumber(ARGV[1]), tonumber(ARGV[2])
local first = 3 + removals
local names = {unpack(ARGV, 3, first - 1)}
for i = first, #ARGV, 2 do
  names[#names + 1] = ARGV[i]
end
local before = #names > 0 and redis.call("HMGET", tags, unpack(names)) or {}
if limit > 0 and first <= #ARGV then
  local total = redis.call("HLEN", tags)
  for i = removals + 1, #before do
    total = total + (before[i] and 0 or 1)
  end
  if total > limit then
    return redis.error_reply("OVER_LIMIT tags")
  end
end
if removals > 0 then
  redis.call("HDEL", tags, unpack(ARGV, 3, first - 1))
end
if first <= #ARGV then
  redis.call("HSET", tags, unpack(ARGV, first))
end
return before
