--[[
Create one partition of a queue, or find that it exists (CreateQueue).

KEYS   1 meta     HASH    queue attributes
       2 tags     HASH    tag -> value
       3 deleted  STRING  stands for a while after a deletion
ARGV   1 now_us        "" = the server's clock
       2 recent        "1" = refuse a name that was deleted recently (SQS's rule)
       3 compared      how many of the attributes below the caller named: an existing queue must have these values
       4 fields        how many attributes there are
       5... name, value of every attribute (the compared ones first), then tag, value of up to 1,000 tags
RETURN {1 created | 0 existed, created_us}
ERRORS QUEUE_NAME_EXISTS, QUEUE_DELETED_RECENTLY, QUEUE_BEING_DELETED
BOUND  100 calls, 1 MiB
]]
local meta, tags, deleted = unpack(KEYS)
local RECENT_US = 60000000
local compared, fields = tonumber(ARGV[3]), tonumber(ARGV[4])
local created_us, deleting = unpack(redis.call("HMGET", meta, "created_us", "deleting"))
if deleting then
  return redis.error_reply("QUEUE_BEING_DELETED " .. meta)
end
if created_us then
  for i = 5, 4 + 2 * compared, 2 do
    local missing = ARGV[i] == "Partitions" and "1" or ""
    if (redis.call("HGET", meta, ARGV[i]) or missing) ~= ARGV[i + 1] then
      return redis.error_reply("QUEUE_NAME_EXISTS " .. ARGV[i])
    end
  end
  return {0, created_us}
end
local now_us = require("lib.clock")(ARGV[1])
if ARGV[2] == "1" then
  local since = redis.call("GET", deleted)
  if since and tonumber(now_us) - tonumber(since) < RECENT_US then
    return redis.error_reply("QUEUE_DELETED_RECENTLY " .. meta)
  end
end
redis.call("DEL", deleted)
-- What sends and receives use comes first: a small hash is searched from its beginning.
local changes = {"quick", "", "created_us", now_us, "modified_us", now_us}
if string.find(meta, "%.fifo:meta$") then
  changes = {"quick", "", "sends", "", "last", "0", "messages", "0", "bytes", "0", unpack(changes, 3)}
end
for i = 5, 4 + 2 * fields do
  changes[#changes + 1] = ARGV[i]
end
require("lib.settings").write(string.match(meta, ".*:"), changes, {})
if #ARGV >= 5 + 2 * fields then
  redis.call("HSET", tags, unpack(ARGV, 5 + 2 * fields))
end
return {1, now_us}
