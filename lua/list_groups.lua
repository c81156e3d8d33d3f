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
local meta = KEYS[1]
if redis.call("HEXISTS", meta, "VisibilityTimeout") == 0 then
  return redis.error_reply("QUEUE_NOT_FOUND " .. meta)
end
local fifo_key = require("lib.fifo_key")
local offset, limit = tonumber(ARGV[1]), tonumber(ARGV[2])
local of_members = {inflight = true, delayed = true, postponed = true} -- STAMP GROUP
local reply, skipped = {-1}, 0
for i = 2, #KEYS do
  local name, members = string.match(KEYS[i], "([^:]*)$"), {}
  local first = math.max(offset - skipped, 0)
  if name == "paused" then
    local groups = redis.call("SMEMBERS", KEYS[i])
    table.sort(groups)
    members = {unpack(groups, first + 1, math.min(#groups, first + limit))}
  else
    local size = redis.call("ZCARD", KEYS[i])
    if first >= size then
      skipped = skipped + size
    else
      members = redis.call("ZRANGE", KEYS[i], first, first + limit - 1)
      skipped = offset
    end
  end
  for _, member in ipairs(members) do
    reply[#reply + 1] = of_members[name] and fifo_key.group(member) or member
  end
  if #members > 0 then
    reply[1] = offset + #members
    break
  end
end
return reply
