#!lua flags=allow-oom
--[[
Delete one partition of a standard queue with everything in it, or empty it (DeleteQueue, PurgeQueue). Bounded work:
the caller repeats while it is told so; a partition being deleted is gone for everybody else from the first step on.

KEYS   1 meta     HASH    queue attributes
       2 ready    LIST
       3 store    HASH
       4 inflight ZSET
       5 delayed  ZSET
       6 bell     LIST
       7 keeper   STRING
       8 ring     ZSET
       9 paused   SET     paused message groups
       10 tags    HASH
       11 deleted STRING  stands for a while after a deletion
       12 shards  SET     hash tags of the dead letters' partitions
       13 sources SET     queues whose redrive policy names this one
       14 tasks   HASH    message move tasks
ARGV   1 now_us      "" = the server's clock
       2 purge       "1" = empty it only
       3 keep_ms     how long the name counts as deleted recently; 0 = not at all
       4 interval_ms refuse a purge so soon after the last one; 0 = never (first step only)
       5 first       "1" = first step
RETURN {1 done | 0 repeat, created_us}
ERRORS QUEUE_NOT_FOUND, PURGE_QUEUE_IN_PROGRESS
]]
local clock = require("lib.clock")
local ending = require("lib.ending")

local meta, ready, store, inflight, delayed, _, keeper, groups, paused = unpack(KEYS)
local refused, created = ending.begin(KEYS, ARGV, clock(ARGV[1]))
if refused then
  return refused
end
local base = string.sub(meta, 1, -5)

-- Groups of a fair queue: a thousand lists a step.
for _, set in ipairs({groups, paused}) do
  local names
  if set == groups then
    names = redis.call("ZRANGE", set, "0", "999")
  else
    names = redis.call("SMEMBERS", set)
  end
  if #names > 0 then
    local lists = {}
    for i = 1, #names do
      lists[i] = base .. "group:" .. names[i]
    end
    redis.call("UNLINK", unpack(lists))
    if set == groups then
      redis.call("ZREM", set, unpack(names))
    elseif ARGV[2] ~= "1" then
      redis.call("SREM", set, unpack(names))
    end
    if #names == 1000 and set ~= paused then
      return {0, created}
    end
  end
end
redis.call("UNLINK", ready, store, inflight, delayed, keeper)
redis.call("HDEL", meta, "holes", "grouped")
ending.finish(KEYS, ARGV)
return {1, created}
