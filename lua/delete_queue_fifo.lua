#!lua flags=allow-oom
--[[
Delete one partition of a FIFO queue with everything in it, or empty it (DeleteQueue, PurgeQueue). Bounded work: the
caller repeats while it is told so. A purge also forgets the deduplication ids.

KEYS   1 meta      HASH    queue attributes
       2 available ZSET
       3 inflight  ZSET
       4 state     HASH
       5 delayed   ZSET
       6 bell      LIST
       7 keeper    STRING
       8 postponed ZSET
       9 paused    SET     paused message groups
       10 tags     HASH
       11 deleted  STRING  stands for a while after a deletion
       12 shards   SET     hash tags of the dead letters' partitions
       13 sources  SET     queues whose redrive policy names this one
       14 tasks    HASH    message move tasks
ARGV   as in delete_queue.lua
RETURN {1 done | 0 repeat, created_us}
ERRORS QUEUE_NOT_FOUND, PURGE_QUEUE_IN_PROGRESS
]]
local clock = require("lib.clock")
local ending = require("lib.ending")

local meta, available, inflight, state, delayed, _, keeper, postponed, paused = unpack(KEYS)
local refused, created = ending.begin(KEYS, ARGV, clock(ARGV[1]))
if refused then
  return refused
end
local base = string.sub(meta, 1, -5)
local purge = ARGV[2] == "1"

-- A group with messages is in `available`, or paused, or one of its messages is in flight or delayed.
for _, set in ipairs({available, inflight, delayed, postponed, paused}) do
  local names
  if set == paused then
    names = redis.call("SMEMBERS", set)
  else
    names = redis.call("ZRANGE", set, "0", "999")
  end
  if #names > 0 then
    local lists = {}
    for i = 1, #names do
      lists[i] = base .. "group:" .. (set ~= available and set ~= paused and string.sub(names[i], 17) or names[i])
    end
    redis.call("UNLINK", unpack(lists))
    if set ~= paused then
      redis.call("ZREM", set, unpack(names))
    elseif not purge then
      redis.call("SREM", set, unpack(names))
    end
    if #names == 1000 and set ~= paused then
      return {0, created}
    end
  end
end
redis.call("UNLINK", state, keeper)
redis.call("HDEL", meta, "messages", "delays")
ending.finish(KEYS, ARGV)
return {1, created}
