#!lua flags=allow-oom
--[[
Count the messages of one partition of a standard queue, exactly, after dropping those whose retention is over.

KEYS   1 meta     HASH  queue attributes
       2 ready    LIST  key, record ...
       3 store    HASH  key -> record
       4 inflight ZSET  member -> visible again (ms * 1000) + receives
       5 delayed  ZSET  key -> due (ms * 1000)
       6 ring     ZSET  message groups
ARGV   1 now_us  "" = the server's clock
RETURN {visible, in_flight, delayed, oldest_ms or "", more}; more = 1: drop on, call again
ERRORS QUEUE_NOT_FOUND
]]
local clock = require("lib.clock")
local message = require("lib.message")
local ring = require("lib.ring")

local meta, ready, store, inflight, delayed, groups = unpack(KEYS)
local settings = redis.call("HMGET", meta, "MessageRetentionPeriod", "holes", "grouped", "fair", "paused_groups")
if not settings[1] then
  return redis.error_reply("QUEUE_NOT_FOUND " .. meta)
end
local now = string.sub(clock(ARGV[1]), 1, 13)
local oldest_kept = string.format("%.0f", tonumber(now) - tonumber(settings[1]) * 1000)
local base = string.sub(meta, 1, -5)
local holes, grouped = tonumber(settings[2] or "0"), tonumber(settings[3] or "0")
local more, oldest = 0, nil

-- The head of a list: drop what is expired or cancelled, at most 500, and see how old the rest is.
local progress = false
local function trim(list, group)
  local head = redis.call("LRANGE", list, "0", "0")
  local dropped = 0
  while head[1] and dropped < 500 do
    local hole = #head[1] == 25
    if not hole and not message.expired(head[1], oldest_kept) then
      local sent = string.sub(head[1], 1, 13)
      if not oldest or sent < oldest then
        oldest = sent
      end
      return
    end
    redis.call("LPOP", list, "2")
    dropped, progress = dropped + 1, true
    if hole then
      holes = holes - 1
      redis.call("HINCRBY", meta, "holes", -1)
    end
    if group ~= "" then
      grouped = grouped - 1
      redis.call("HINCRBY", meta, "grouped", -1)
    end
    head = redis.call("LRANGE", list, "0", "0")
  end
  if head[1] then
    more = 1
  elseif settings[4] then
    redis.call("ZREM", groups, group)
  end
end

trim(ready, "")
if settings[4] then
  local names = redis.call("ZRANGE", groups, "0", "99")
  if settings[5] then
    for _, group in ipairs(redis.call("SRANDMEMBER", base .. "paused", "100")) do
      names[#names + 1] = group
    end
  end
  for _, group in ipairs(names) do
    if group ~= "" then
      trim(ring.list(base, ready, group), group)
    end
  end
  if progress and #names >= 100 then -- the next ones have come to the front
    more = 1
  end
end

local function drop_expired(zset, members)
  for _, member in ipairs(members) do
    local field = zset == inflight and message.field(member) or member
    if message.expired(member, oldest_kept) then
      redis.call("ZREM", zset, member)
      redis.call("HDEL", store, field)
    else
      local sent = string.sub(member, 1, 13)
      if not oldest or sent < oldest then
        oldest = sent
      end
    end
  end
end
drop_expired(inflight, redis.call("ZRANGE", inflight, "0", "999"))
if redis.call("ZCARD", inflight) > 1000 then -- the others are in flight longest; those due were looked at
  drop_expired(inflight, redis.call("ZRANGE", inflight, "-1000", "-1"))
end
for _, member in ipairs(redis.call("ZRANGE", delayed, "0", "99")) do
  local sent = string.sub(member, 1, 13)
  if not oldest or sent < oldest then
    oldest = sent
  end
end

local visible = redis.call("LLEN", ready) / 2 + grouped - holes
  + redis.call("ZCOUNT", inflight, "-inf", now .. "999") + redis.call("ZCOUNT", delayed, "-inf", now .. "999")
return {
  visible,
  redis.call("ZCOUNT", inflight, "(" .. now .. "999", "+inf"),
  redis.call("ZCOUNT", delayed, "(" .. now .. "999", "+inf"),
  oldest or "",
  more,
}
