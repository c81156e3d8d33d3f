--[[
Look at the visible messages of the groups of one partition of a fair queue without touching them, group by group: first
those that were not received yet.

KEYS   1 meta   HASH  queue attributes
       2 fair_ring ZSET  groups with ready messages, in the order of their turns
       3 paused SET   paused message groups
ALSO   group:NAME again:NAME store
ARGV   1 place   1 = go on in ring, 2 = in paused
       2 offset  messages to skip of the group that was met last, 0 = go on behind it
       3 score   of the group that was met last, "" to begin
       4 group   and its name
       5 limit   at most 1000
RETURN {more, place, offset, score, group, key, receives, record, ...}; more = 0: the end. About 1,000 messages and
       groups are looked at, so that there may be none of them
ERRORS QUEUE_NOT_FOUND
BOUND  2500 calls, 4 MiB
]]
local fair_ring = require("lib.fair_ring")
local message = require("lib.message")
local large = require("lib.large")
local scores = require("lib.score")
local paging = require("lib.paging")

local meta, ring, paused = unpack(KEYS)
local place, offset, score, group = tonumber(ARGV[1]), tonumber(ARGV[2]), ARGV[3], ARGV[4]
local visibility, largest = unpack(redis.call("HMGET", meta, "VisibilityTimeout", "large"))
if not visibility then
  return redis.error_reply("QUEUE_NOT_FOUND " .. meta)
end
local base, places = string.match(meta, ".*:"), {ring, paused}
local reply = {0, 0, 0, "", ""}
local room, looks, bytes = tonumber(ARGV[5]), 1000, large.BYTES

local function show(key, receives, record)
  local n = #reply
  reply[n + 1], reply[n + 2], reply[n + 3] = key, receives, record
  room, bytes = room - 1, bytes - #record
end

-- A group as long as there is room; offset is 0 when it has come to its end.
local function show_group()
  local list, again = fair_ring.list(base, group), fair_ring.again(base, group)
  local length = redis.call("LLEN", list) / 2
  while room > 0 and looks > 0 and bytes > 0 do
    local want = large.chunk(largest, math.min(room, looks), bytes)
    if offset < length then
      local found = redis.call("LRANGE", list, 2 * offset, 2 * (offset + want) - 1)
      for i = 1, #found, 2 do
        if not message.is_tombstone(found[i]) then
          show(found[i], 0, found[i + 1])
        end
      end
      offset, looks = offset + #found / 2, looks - #found / 2
    else
      local found = redis.call("ZRANGE", again, offset - length, offset - length + want - 1, "WITHSCORES")
      for i = 1, #found, 2 do
        local record = redis.call("HGET", base .. "store", found[i])
        if record then
          show(found[i], scores.receives(found[i + 1]), record)
        end
      end
      offset, looks = offset + #found / 2, looks - #found / 2
      if #found < 2 * want then
        offset = 0
        return
      end
    end
  end
end

if offset > 0 then
  show_group()
end
while places[place] do
  local function step(name, at)
    if room <= 0 or looks <= 0 or bytes <= 0 or offset > 0 then
      return false
    end
    score, group, looks = at, name, looks - 1
    if name ~= "" and (place == 1 or not redis.call("ZSCORE", ring, name)) then -- "" stands for those without one
      show_group()
    end
    return offset == 0
  end
  local is_over = offset == 0
  if is_over and place == 1 then
    is_over = paging.zset(ring, score, group, step)
  elseif is_over then
    is_over = paging.set(paused, group, step)
  end
  if not is_over then
    reply[1], reply[2], reply[3], reply[4], reply[5] = 1, place, offset, score, group
    return reply
  end
  place, score, group = place + 1, "", ""
end
return reply
