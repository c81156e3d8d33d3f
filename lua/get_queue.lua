--[[
Read one partition's attributes (GetQueueAttributes, GetQueueUrl).

KEYS   1 meta  HASH  queue attributes
ARGV   -
RETURN {field, value, ...}
ERRORS QUEUE_NOT_FOUND
]]
local all = redis.call("HGETALL", KEYS[1])
for i = 1, #all, 2 do
  if all[i] == "deleting" then
    all = {}
    break
  end
end
if #all == 0 then
  return redis.error_reply("QUEUE_NOT_FOUND " .. KEYS[1])
end
return all
