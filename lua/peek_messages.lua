--[[
Look at messages of one partition of a standard queue without touching them.

KEYS   1 meta     HASH  queue attributes
       2 ready    LIST  key, record ...
       3 store    HASH  member -> record
       4 inflight ZSET  member -> visible again (ms * 1000) + receives
       5 delayed  ZSET  key or member -> due (ms * 1000) + receives
ALSO   group:NAME again:NAME
ARGV   1 now_us   "" = the server's clock
       2 section  ready | again (received before, visible) | returned (visible in the group of a fair queue) |
                  inflight | delayed | due (delayed, visible now)
       3 group    whose messages "ready" and "returned" mean, "" = those without one
       4 offset   messages to skip; "-N" = from the end on, backwards, behind the last N - 1
       5 limit    at most 1000
RETURN {seen, end, key, score or "", record, ...}; end = 1: the section ends here. So many messages as fit in 4 MiB
ERRORS QUEUE_NOT_FOUND
BOUND  1100 calls, 4 MiB
]]
local fair_ring = require("lib.fair_ring")
local message = require("lib.message")
local score = require("lib.score")

local meta, _, store, inflight, delayed = unpack(KEYS)
local visibility, largest = unpack(redis.call("HMGET", meta, "VisibilityTimeout", "large"))
if not visibility then
  return redis.error_reply("QUEUE_NOT_FOUND " .. meta)
end
local _, now = require("lib.clock")(ARGV[1], true)
local base, section, group, offset = string.match(meta, ".*:"), ARGV[2], ARGV[3], tonumber(ARGV[4])
local limit = require("lib.large").chunk(largest, tonumber(ARGV[5]))
local is_backwards = offset < 0
local skipped = is_backwards and -offset - 1 or offset
local reply = {0, 0}

if section == "ready" then
  local from, to = 2 * skipped, 2 * (skipped + limit) - 1
  if is_backwards then
    from, to = -to - 1, -from - 1
  end
  local found = redis.call("LRANGE", fair_ring.list(base, group), from, to)
  reply[1], reply[2] = #found / 2, #found < 2 * limit and 1 or 0
  for n = 1, #found, 2 do
    local i = is_backwards and #found - n or n
    if not message.is_tombstone(found[i]) then
      reply[#reply + 1], reply[#reply + 2], reply[#reply + 3] = found[i], "", found[i + 1]
    end
  end
  return reply
end

local zset = delayed
if section == "again" or section == "inflight" then
  zset = inflight
elseif section == "returned" then
  zset = fair_ring.again(base, group)
end
local from, to = "-inf", section == "returned" and "+inf" or score.highest(now)
if section == "inflight" or section == "delayed" then
  from, to = "(" .. to, "+inf"
end
local command = "ZRANGEBYSCORE"
if is_backwards then
  command, from, to = "ZREVRANGEBYSCORE", to, from
end
local found = redis.call(command, zset, from, to, "WITHSCORES", "LIMIT", skipped, limit)
reply[1], reply[2] = #found / 2, #found < 2 * limit and 1 or 0
for i = 1, #found, 2 do
  local record = redis.call("HGET", store, found[i])
  if record then
    reply[#reply + 1], reply[#reply + 2], reply[#reply + 3] = found[i], found[i + 1], record
  end
end
return reply
