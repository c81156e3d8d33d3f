#!lua flags=allow-oom
--[[
Delete one partition of a standard queue with everything in it, or empty it (DeleteQueue, PurgeQueue). Bounded work:
the caller repeats while it is told so; a partition being deleted is gone for everybody else from the first step on.

KEYS   1 meta     HASH    queue attributes
       2 ready    LIST
       3 store    HASH
       4 inflight ZSET
       5 delayed  ZSET
       6 wakeups  LIST
       7 timer    STRING
       8 fair_ring ZSET
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
       5 first       "1" = first step; of a deletion it only marks the partition
       6 cursor      "0", then what the last step returned
RETURN {1 done | 0 repeat, created_us, cursor [, batch, destination]}; batch: of a hand-over to another slot that was not
       finished: the destination has to forget it
ERRORS QUEUE_NOT_FOUND, QUEUE_DAMAGED, PURGE_QUEUE_IN_PROGRESS
BOUND  1600 calls, 64 KiB
]]
return require("lib.idempotency").run(function()
  local clock = require("lib.clock")
  local removal = require("lib.queue_removal")

  local meta, ready, store, inflight, delayed, _, _, groups = unpack(KEYS)
  local refused, created = removal.begin(KEYS, ARGV, clock(ARGV[1]))
  if refused then
    return refused
  elseif ARGV[2] ~= "1" and ARGV[5] == "1" then
    return {0, created, "0"} -- marked: what belongs to it elsewhere goes first
  end

  -- Groups of a fair queue: a thousand lists a step.
  local names = redis.call("ZRANGE", groups, "0", "999")
  if #names > 0 then
    removal.unlink_groups(meta, names, "grouped")
    redis.call("ZREM", groups, unpack(names))
    if #names == 1000 then
      return {0, created, ARGV[6]}
    end
  end
  local cursor = removal.unlink_paused(KEYS, ARGV, "grouped")
  if cursor then
    return {0, created, cursor}
  end
  redis.call("UNLINK", ready, store, inflight, delayed)
  redis.call("HDEL", meta, "tombstones", "returned", "arrived", "large")
  if redis.call("EXISTS", KEYS[9]) == 0 then -- paused groups that were emptied by earlier steps may have new messages
    redis.call("HDEL", meta, "grouped")
  end
  return {1, created, "0", removal.finish(KEYS, ARGV)}
end)
