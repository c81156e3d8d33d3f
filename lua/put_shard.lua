--[[
Create or renew the shard that holds a queue's dead letters in the hash slot of their source, or another partition: its
attributes are a copy of the home partition's.

KEYS   1 meta    HASH    attributes of the shard
       2 source  HASH    attributes of the source partition in the same slot
       3 wakeups LIST    wakeup token of the shard
       4 timer   STRING  who wakes a waiter at the shard's next due time
ALSO   wake:WAITER
ARGV   1 modified_us  of the home partition: an older copy does not overwrite a newer one; with argument 2: now_us
       2 missing      "" = the queue exists; "+ms" = it does not, and the source does not look for it for this time
       3 partition    "" = a shard of dead letters; a partition: NUMBER/COUNT or NUMBER/COUNT/BEFORE (lib/partition.lua)
                      as which it is created, "?" = it is only renewed
       4... field, value
RETURN 1 written | 0 a newer copy is there, or nothing to renew
ERRORS -
BOUND  30 calls, 256 KiB
]]
local settings = require("lib.settings")

local meta, source = unpack(KEYS)
local base, modified_us, missing, partition = string.match(meta, ".*:"), ARGV[1], ARGV[2], ARGV[3]
if missing ~= "" then
  local _, now = require("lib.clock")(modified_us, true)
  redis.call("HSET", source, "dlq_missing_until", string.format("%d", now + tonumber(missing)))
  return 1
end
local have_us, present = unpack(redis.call("HMGET", meta, "modified_us", "partition"))
if not have_us and partition == "?" then
  return 0
end
local state = string.match(partition, "/(.*)$")
if state and require("lib.partition").is_later(state, present and string.match(present, "/(.*)$")) then
  settings.write(base, {"partition", partition}, {})
end
if have_us and tonumber(have_us) > tonumber(modified_us) then
  return 0
end
local copied = {paused = true, dlq = true, max_receives = true} -- beside SQS's names
local changes, removals, new = {}, {}, {}
for i = 4, #ARGV, 2 do
  changes[#changes + 1], changes[#changes + 2] = ARGV[i], ARGV[i + 1]
  new[ARGV[i]] = true
end
for _, field in ipairs(redis.call("HKEYS", meta)) do
  if not new[field] and (copied[field] or string.find(field, "^%u")) then
    removals[#removals + 1] = field
  end
end
settings.write(base, changes, removals)
require("lib.wakeups").reset(base)
return 1
