--[[
Read one partition's attributes (GetQueueAttributes, GetQueueUrl).

KEYS   1 meta  HASH  queue attributes
ARGV   1 being_deleted  "1" = also while its deletion is not finished
RETURN {field, value, ...}
ERRORS QUEUE_NOT_FOUND
BOUND  2 calls, 256 KiB
]]
local all = redis.call("HGETALL", KEYS[1])
for i = 1, #all, 2 do
  if all[i] == "deleting" and ARGV[1] ~= "1" then
    all = {}
    break
  end
end
if #all == 0 then
  return redis.error_reply("QUEUE_NOT_FOUND " .. KEYS[1])
end
return all
