#!lua flags=allow-oom
--[[
Count the messages of one partition of a standard queue, exactly, after dropping those whose retention is over: of every
line up to 1,000 message groups, and among the first and last 1,000 in flight and the first 1,000 delayed. Who may not
write (ACL) counts them as well.

KEYS   1 meta     HASH  queue attributes
       2 ready    LIST  key, record ...
       3 store    HASH  member -> record
       4 inflight ZSET  member -> visible again (ms * 1000) + receives
       5 delayed  ZSET  key or member -> due (ms * 1000) + receives
       6 fair_ring ZSET  message groups
ALSO   group:NAME again:NAME paused stats sources heartbeats consumers commands timeline
ARGV   1 now_us  "" = the server's clock
       2 group   of fair_ring, counted from 0, with which to go on; 1000 = drop no more
       3 metrics "1" = and what happened so far
RETURN {visible, in_flight, delayed, oldest_ms or "", next [, now_ms, created_us, topology, unreceived, received, is,
       since_ms or "", groups, field, number ...]}: what happened is that of lib/counting.lua, and since_ms and groups
       those of lib/gauges.lua, at the end; next = the group with which the caller goes on, -1 at the end; oldest_ms is
       that of the groups that were looked at
ERRORS QUEUE_NOT_FOUND
BOUND  2500 calls, 256 KiB
]]
local message = require("lib.message")
local fair_ring = require("lib.fair_ring")
local counting = require("lib.counting")
local score = require("lib.score")

local meta, _, store, inflight, delayed, groups = unpack(KEYS)
local retention, fair, paused_groups, back, due, has_timeline = unpack(redis.call("HMGET", meta,
  "MessageRetentionPeriod", "fair", "paused_groups", "returned", "arrived", "Timeline"))
if not retention then
  return redis.error_reply("QUEUE_NOT_FOUND " .. meta)
end
local _, now = require("lib.clock")(ARGV[1], true)
local retention_ms = retention * 1000
local oldest_kept = string.format("%d", now - retention_ms)
local base = string.match(meta, ".*:")
local LAST = 1000 -- groups
local may_drop = redis.acl_check_cmd("HDEL", store)
local drops, oldest, start, is_metrics = may_drop and 1000 or 0, nil, tonumber(ARGV[2]), ARGV[3] == "1"
local has_again = fair and (back and back ~= "0" or due and due ~= "0")
local expired = {expired_r = 0, expired_u = 0} -- lib/counting.lua
local met = has_timeline and {} -- their keys

local function count(field, by)
  if by ~= 0 then
    redis.call("HINCRBY", meta, field, by)
  end
end

local function see(key)
  if not oldest or key < oldest then
    oldest = string.sub(key, 1, #now)
  end
end

-- Drop what is expired among members of a ZSET. `scores`: of those in the group of a fair queue.
local function drop_expired(zset, members, scores)
  local ended = {}
  for _, member in ipairs(members) do
    if may_drop and member < oldest_kept and message.is_expired(member, oldest_kept) then
      ended[#ended + 1] = member
      if met then
        met[#met + 1] = member
      end
      local field = "expired_" .. counting.place(base, zset, scores and score.receives(scores[member]) or 0)
      expired[field] = expired[field] + 1
    else
      see(member)
    end
  end
  if #ended > 0 then
    redis.call("ZREM", zset, unpack(ended))
    redis.call("HDEL", store, unpack(ended))
  end
  return ended
end

-- The messages of a group, or those without one.
local function look(group)
  local list = fair_ring.list(base, group)
  local dropped, tombstones, head = require("lib.drop_expired")(list, oldest_kept, drops, met)
  drops = drops - dropped
  count("tombstones", -tombstones)
  expired.expired_u = expired.expired_u + dropped - tombstones
  count("grouped", group ~= "" and -dropped or 0)
  head = head or redis.call("LINDEX", list, "0")
  if head then
    see(head)
  end
  if has_again then
    local again = fair_ring.again(base, group)
    local found, members, scores = redis.call("ZRANGE", again, "0", "99", "WITHSCORES"), {}, {}
    for i = 1, #found, 2 do
      members[#members + 1] = found[i]
      scores[found[i]] = found[i + 1]
    end
    local ended = drop_expired(again, members, scores)
    for _, member in ipairs(ended) do
      count(score.counter(scores[member]), -1)
    end
    drops = drops - 2 * #ended
  end
  return drops > 0 or not may_drop
end

local next_group = -1
if start == LAST then
  next_group = -1
elseif not fair then
  next_group = look("") and -1 or 0
else
  local names = redis.call("ZRANGE", groups, start, math.min(start + 99, LAST - 1))
  if start == 0 and paused_groups then
    for _, group in ipairs(redis.call("SRANDMEMBER", base .. "paused", "50")) do
      names[#names + 1] = group
    end
  end
  for i, group in ipairs(names) do
    if not look(group) then
      next_group = start + math.min(i - 1, 100) -- paused ones are no place to go on from
      break
    end
  end
  if next_group < 0 and #names >= 100 and start + 100 < LAST then
    next_group = start + 100
  elseif next_group < 0 and is_metrics and (start > 0 or #names >= 50 or drops < 900) then
    next_group = LAST -- all numbers of one instant, for which there is no room beside these
  end
end

if start == 0 then
  drop_expired(inflight, redis.call("ZRANGE", inflight, "0", "999"))
  if redis.call("ZCARD", inflight) > 1000 then
    drop_expired(inflight, redis.call("ZRANGE", inflight, "-1000", "-1"))
  end
  drop_expired(delayed, redis.call("ZRANGE", delayed, "0", retention_ms < 900000 and "999" or "99"))
end

local grouped, tombstones, returned, arrived =
  unpack(redis.call("HMGET", meta, "grouped", "tombstones", "returned", "arrived"))
local last = score.highest(now)
local visible = redis.call("LLEN", base .. "ready") / 2 + (grouped or 0) - (tombstones or 0) + (returned or 0)
  + (arrived or 0) + redis.call("ZCOUNT", inflight, "-inf", last) + redis.call("ZCOUNT", delayed, "-inf", last)
local reply = {
  visible,
  redis.call("ZCOUNT", inflight, "(" .. last, "+inf"),
  redis.call("ZCOUNT", delayed, "(" .. last, "+inf"),
  oldest or "",
  next_group,
}
counting.add(base, expired)
if met and met[1] then
  local timeline = require("lib.timeline")
  for _, key in ipairs(met) do
    timeline.add(base, "e", key)
  end
  timeline.write(tonumber(now))
end
if is_metrics and next_group < 0 then
  local since, sent, tally = require("lib.gauges").standard(base, now, fair, (returned or 0) + (arrived or 0))
  reply[4] = oldest or sent or ""
  require("lib.report")(reply, base, false, now, since, tally)
end
return reply
