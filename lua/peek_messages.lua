--[[
Look at messages of one partition of a standard queue without touching them.

KEYS   1 meta     HASH  queue attributes
       2 ready    LIST  key, record ...
       3 store    HASH  key -> record
       4 inflight ZSET  member -> visible again (ms * 1000) + receives
       5 delayed  ZSET  key -> due (ms * 1000)
ARGV   1 now_us   "" = the server's clock
       2 section  ready | again (received before, visible) | inflight | delayed | due (delayed, visible now)
       3 group    whose list "ready" means, "" = the messages without one
       4 offset   messages to skip
       5 limit    at most 1000
RETURN {seen, now_ms, key, score or "", record, ...}; seen < limit: the section ends here
ERRORS QUEUE_NOT_FOUND
]]
local clock = require("lib.clock")
local message = require("lib.message")

local meta, ready, store, inflight, delayed = unpack(KEYS)
if redis.call("HEXISTS", meta, "VisibilityTimeout") == 0 then
  return redis.error_reply("QUEUE_NOT_FOUND " .. meta)
end
local now = string.sub(clock(ARGV[1]), 1, 13)
local section, offset, limit = ARGV[2], tonumber(ARGV[4]), tonumber(ARGV[5])
local reply = {0, tonumber(now)}

if section == "ready" then
  local list = ARGV[3] == "" and ready or string.sub(meta, 1, -5) .. "group:" .. ARGV[3]
  local found = redis.call("LRANGE", list, 2 * offset, 2 * (offset + limit) - 1)
  reply[1] = #found / 2
  for i = 1, #found, 2 do
    if #found[i] ~= 25 then
      reply[#reply + 1] = found[i]
      reply[#reply + 1] = ""
      reply[#reply + 1] = found[i + 1]
    end
  end
  return reply
end

local zset = (section == "again" or section == "inflight") and inflight or delayed
local from, to = "-inf", now .. "999"
if section == "inflight" or section == "delayed" then
  from, to = "(" .. to, "+inf"
end
local found = redis.call("ZRANGEBYSCORE", zset, from, to, "WITHSCORES", "LIMIT", offset, limit)
reply[1] = #found / 2
for i = 1, #found, 2 do
  local record = redis.call("HGET", store, zset == inflight and message.field(found[i]) or found[i])
  if record then
    reply[#reply + 1] = found[i]
    reply[#reply + 1] = found[i + 1]
    reply[#reply + 1] = record
  end
end
return reply
