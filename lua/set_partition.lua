#!lua flags=allow-oom
--[[
Tell a partition how many there are by now: groups go to their new places when they are empty. Or that no group is in an
old place any more.

KEYS   1 meta    HASH    attributes of the partition
       2 wakeups LIST    wakeup token
       3 timer   STRING  who wakes somebody at the next due time
ARGV   1 now_us     "" = the server's clock
       2 partition  NUMBER/COUNT/BEFORE or NUMBER/COUNT (lib/partition.lua); an earlier state changes nothing
       3 look       "" or only tell whether NUMBER/COUNT may come; FIFO: if there are not more groups than this number,
                    up to 25,000
RETURN 0, or for how many ms more it has to remember deduplication ids of what is elsewhere now; -1 = it does not know of
       that count yet, or some group is in its old place, or there are too many
ERRORS QUEUE_NOT_FOUND
BOUND  1100 calls, 4 MiB
]]
local meta = unpack(KEYS)
local state = redis.call("HMGET", meta, "created_us", "deleting", "partition", "ids_until", "last", "DeduplicationWindow",
  "longest_window")
if not state[1] or state[2] then
  return redis.error_reply("QUEUE_NOT_FOUND " .. meta)
end
local base = string.sub(meta, 1, -5)
local now_ms = tonumber(string.sub(require("lib.clock")(ARGV[1]), 1, 13))
local new, have = string.match(ARGV[2], "/(.*)$"), state[3] and string.match(state[3], "/(.*)$")

-- Is a message group in its old place? In one step, as groups go from set to set.
local function has_old_groups(limit)
  local total, doubts = 0, 0
  local sets = {"available", "inflight", "delayed", "postponed"}
  for _, name in ipairs(sets) do
    total = total + redis.call("ZCARD", base .. name)
  end
  if total + redis.call("SCARD", base .. "paused") > limit then
    return true
  end
  local asked = {}
  local function is_old(group)
    if asked[group] then
      return false
    end
    asked[group] = true
    if require("lib.partition")(state[3], group, "") ~= "old" then
      return false
    end
    doubts = doubts + 1 -- what is left of a group that is empty goes little by little
    return doubts > 1000 or redis.call("EXISTS", base .. "group:" .. group) == 1
  end
  for _, name in ipairs(sets) do
    for _, member in ipairs(redis.call("ZRANGE", base .. name, "0", "-1")) do
      if is_old(name == "available" and member or string.sub(member, 17)) then
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

local is_fifo = string.find(meta, "%.fifo:meta$")
if ARGV[3] ~= "" then
  if not have or string.match(have, "^%d+") ~= new then
    return -1
  elseif have == new then
    return 0
  elseif is_fifo and has_old_groups(tonumber(ARGV[3])) then
    return -1
  end
  return math.max(tonumber(state[4] or "0") - now_ms, 0)
end
if not require("lib.resharding")(new, have) then
  return 0
end
local changes = {"partition", ARGV[2]}
if string.find(new, "/") then
  local window = math.max(tonumber(state[6] or "300") * 1000, tonumber(state[7] or "0"), 60000)
  local since = is_fifo and (state[5] and tonumber(string.sub(state[5], 1, 13)) or -window) or now_ms
  changes[3], changes[4] = "ids_until", string.format("%.0f", since + window)
end
require("lib.settings").write(meta, changes, {})
-- What waits looks again, and learns of the others.
require("lib.wakeups").reset(base)
return 0
