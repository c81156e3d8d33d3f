#!lua flags=allow-oom
--[[
Tell a partition how many there are by now: groups go to their new places when they are empty. Or that no group is in an
old place any more.

KEYS   1 meta    HASH    attributes of the partition
       2 wakeups LIST    wakeup token
       3 timer   STRING  who wakes a waiter at the next due time
ALSO   group:NAME available inflight delayed postponed paused wake:WAITER
ARGV   1 now_us     "" = the server's clock
       2 partition  NUMBER/COUNT/BEFORE or NUMBER/COUNT (lib/partition.lua); an earlier state changes nothing
       3 look       "" or only tell whether NUMBER/COUNT may come; FIFO: if there are not more groups than this number,
                    up to 25,000
RETURN 0, or for how many ms more it has to remember deduplication ids of what is elsewhere now; -1 = it does not know
       of that count yet, or some group is in its old place, or there are too many
ERRORS QUEUE_NOT_FOUND
BOUND  1100 calls, 4 MiB
]]
local fifo_key = require("lib.fifo_key")

local meta = KEYS[1]
local base, is_fifo = string.match(meta, ".*:"), string.find(meta, "%.fifo:meta$")
local partition, limit = ARGV[2], tonumber(ARGV[3])
local SHORTEST_MS = 60000 -- deduplication ids are remembered for this time at least
local DOUBTS = 1000 -- groups that seem to be in their old places, of which it is looked whether they are

local created_us, deleting, present, ids_until, last, window, longest_window = unpack(redis.call("HMGET", meta,
  "created_us", "deleting", "partition", "ids_until", "last", "DeduplicationWindow", "longest_window"))
if not created_us or deleting then
  return redis.error_reply("QUEUE_NOT_FOUND " .. meta)
end
local _, now = require("lib.clock")(ARGV[1], true)
local now_ms = tonumber(now)
local new, have = string.match(partition, "/(.*)$"), present and string.match(present, "/(.*)$")

-- Is a message group in its old place? In one step, as groups go from set to set.
local function has_old_groups()
  local total, doubts = redis.call("SCARD", base .. "paused"), 0
  local sets = {"available", "inflight", "delayed", "postponed"}
  for _, name in ipairs(sets) do
    total = total + redis.call("ZCARD", base .. name)
  end
  if total > limit then
    return true
  end
  local asked = {}
  local function is_old(group)
    if asked[group] then
      return false
    end
    asked[group] = true
    if require("lib.partition").place(present, group, "") ~= "old" then
      return false
    end
    doubts = doubts + 1 -- what is left of a group that is empty goes little by little
    return doubts > DOUBTS or redis.call("EXISTS", base .. "group:" .. group) == 1
  end
  for _, name in ipairs(sets) do
    for _, member in ipairs(redis.call("ZRANGE", base .. name, "0", "-1")) do
      if is_old(name == "available" and member or fifo_key.group(member)) then
        return true
      end
    end
  end
  for _, group in ipairs(redis.call("SMEMBERS", base .. "paused")) do
    if is_old(group) then
      return true
    end
  end
  return false
end

if limit then
  if not have or string.match(have, "^%d+") ~= new then
    return -1
  elseif have == new then
    return 0
  elseif is_fifo and has_old_groups() then
    return -1
  end
  return math.max((ids_until or 0) - now_ms, 0)
end
if not require("lib.partition").is_later(new, have) then
  return 0
end
local changes = {"partition", partition}
if string.find(new, "/") then
  local window_ms = math.max((window or 300) * 1000, tonumber(longest_window or "0"), SHORTEST_MS)
  local since_ms = now_ms
  if is_fifo then
    since_ms = last and tonumber(fifo_key.sent(last)) or -window_ms
  end
  changes[3], changes[4] = "ids_until", string.format("%d", since_ms + window_ms)
end
require("lib.settings").write(base, changes, {})
require("lib.wakeups").reset(base) -- what waits looks again, and learns of the others
return 0
