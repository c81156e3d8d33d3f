--[[
Walk the message groups of one partition that hold messages; a group may be met more than once.

KEYS   1 meta    HASH  queue attributes
       2... the ZSETs of groups or (FIFO) of stamp group, and last the SET of paused groups
ARGV   1 offset  where to go on, counted over all of them
       2 limit
RETURN {next_offset or -1, group ...}
ERRORS QUEUE_NOT_FOUND
BOUND  20 calls, 4 MiB
]]
if redis.call("HEXISTS", KEYS[1], "VisibilityTimeout") == 0 then
  return redis.error_reply("QUEUE_NOT_FOUND " .. KEYS[1])
end
local offset, limit = tonumber(ARGV[1]), tonumber(ARGV[2])
local reply, skipped = {-1}, 0
for i = 2, #KEYS do
  local members
  if string.find(KEYS[i], ":paused$") then
    members = redis.call("SMEMBERS", KEYS[i])
    table.sort(members)
    members = {unpack(members, math.max(offset - skipped, 0) + 1, math.min(#members, math.max(offset - skipped, 0) + limit))}
  else
    local size = redis.call("ZCARD", KEYS[i])
    if offset - skipped >= size then
      skipped = skipped + size
      members = {}
    else
      members = redis.call("ZRANGE", KEYS[i], offset - skipped, offset - skipped + limit - 1)
      skipped = offset
    end
  end
  for _, member in ipairs(members) do
    reply[#reply + 1] = string.match(KEYS[i], "inflight$") and string.sub(member, 17)
      or string.match(KEYS[i], "delayed$") and string.sub(member, 17)
      or string.match(KEYS[i], "postponed$") and string.sub(member, 17) or member
  end
  if #members > 0 then
    reply[1] = offset + #members
    break
  end
end
return reply
