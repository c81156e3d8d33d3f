--[[
Create or renew the shard that holds a queue's dead letters in the hash slot of their source, or another partition: its
attributes are a copy of the home partition's.

KEYS   1 meta    HASH    attributes of the shard
       2 source  HASH    attributes of the source partition in the same slot
       3 wakeups LIST    wakeup token of the shard
       4 timer   STRING  who wakes somebody at the shard's next due time
ARGV   1 modified_us  of the home partition: an older copy does not overwrite a newer one; with argument 2: now_us
       2 missing      "" = the queue exists; "+ms" = it does not, and the source stops looking for it so long
       3 partition    "" = a shard of dead letters; a partition: NUMBER/COUNT or NUMBER/COUNT/BEFORE (lib/partition.lua)
                      as which it is created, "?" = it is only renewed
       4... field, value
RETURN 1 written | 0 a newer copy is there, or nothing to renew
ERRORS -
BOUND  30 calls, 256 KiB
]]
local clock = require("lib.clock")
local settings = require("lib.settings")
local wakeups = require("lib.wakeups")

local meta, source = unpack(KEYS)
if ARGV[2] ~= "" then
  local now_ms = tonumber(string.sub(clock(ARGV[1]), 1, 13))
  redis.call("HSET", source, "dlq_missing_until", string.format("%.0f", now_ms + tonumber(string.sub(ARGV[2], 2))))
  return 1
end
local have = redis.call("HGET", meta, "modified_us")
if not have and ARGV[3] == "?" then
  return 0
end
local place = string.match(ARGV[3], "/(.*)$")
if place then
  local present = redis.call("HGET", meta, "partition")
  if require("lib.resharding")(place, present and string.match(present, "/(.*)$")) then
    settings.write(meta, {"partition", ARGV[3]}, {})
  end
end
if have and tonumber(have) > tonumber(ARGV[1]) then
  return 0
end
local changes, removals, new = {}, {}, {}
for i = 4, #ARGV, 2 do
  changes[#changes + 1], changes[#changes + 2] = ARGV[i], ARGV[i + 1]
  new[ARGV[i]] = true
end
for _, field in ipairs(redis.call("HKEYS", meta)) do
  if not new[field] and (string.find(field, "^%u") or field == "paused" or field == "dlq" or field == "max_receives") then
    removals[#removals + 1] = field
  end
end
settings.write(meta, changes, removals)
wakeups.reset(string.sub(meta, 1, -5))
return 1
