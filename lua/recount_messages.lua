--[[
Count the messages of one partition where they lie, and compare that with the counters that stand for them, if it has
no more than 1,000 message groups and (FIFO) 2,000 messages in flight and delayed. Tombstones are only counted among up
to 400 messages.

KEYS   1 meta  HASH  queue attributes
ALSO   ready group:NAME again:NAME fair_ring paused available inflight state delayed postponed
ARGV   1 kind  "1" = a FIFO queue
RETURN {field, said, found ...}: fields of meta that say something else than was found
ERRORS QUEUE_NOT_FOUND
BOUND  2500 calls, 64 KiB
]]
local message = require("lib.message")
local fifo_key = require("lib.fifo_key")

local GROUPS, LOOKED_AT = 1000, 400
local meta, is_fifo = KEYS[1], ARGV[1] == "1"
local base = string.match(meta, ".*:")
if redis.call("HEXISTS", meta, "VisibilityTimeout") == 0 then
  return redis.error_reply("QUEUE_NOT_FOUND " .. meta)
end

local groups, seen = {}, {}
local function take(group)
  if not seen[group] then
    seen[group], groups[#groups + 1] = true, group
  end
end

for _, group in ipairs(redis.call("ZRANGE", base .. (is_fifo and "available" or "fair_ring"), "0", GROUPS)) do
  take(group)
end
for _, set in ipairs(is_fifo and {"inflight", "delayed", "postponed"} or {}) do
  local members = redis.call("ZRANGE", base .. set, "0", 2 * GROUPS)
  if #members > 2 * GROUPS then
    return {}
  end
  for _, member in ipairs(members) do
    take(fifo_key.group(member))
  end
end
for _, group in ipairs(redis.call("SRANDMEMBER", base .. "paused", GROUPS + 1)) do
  take(group)
end
if #groups > GROUPS then
  return {}
end
if not is_fifo then
  take("")
end

local listed, grouped, again, lists = 0, 0, 0, {}
for _, group in ipairs(groups) do
  local list = base .. (not is_fifo and group == "" and "ready" or "group:" .. group)
  local length = redis.call("LLEN", list) / 2
  listed, lists[list] = listed + length, length
  grouped = grouped + (group == "" and 0 or length)
  if not is_fifo then
    again = again + redis.call("ZCARD", base .. "again:" .. group)
  end
end

local reply = {}
local function compare(field, found, other)
  local counters = redis.call("HMGET", meta, field, other or field .. "?")
  local said = (tonumber(counters[1]) or 0) + (tonumber(counters[2]) or 0)
  if said ~= found then
    reply[#reply + 1], reply[#reply + 2], reply[#reply + 3] = field, said, found
  end
end

if is_fifo then
  compare("messages", listed)
  return reply
end
compare("grouped", grouped)
compare("returned", again, "arrived")
if listed <= LOOKED_AT then
  local tombstones = 0
  for list, length in pairs(lists) do
    for i = 0, length - 1 do
      if message.is_tombstone(redis.call("LINDEX", list, string.format("%d", 2 * i))) then
        tombstones = tombstones + 1
      end
    end
  end
  compare("tombstones", tombstones)
end
return reply
