#!lua flags=allow-oom
--[[
Delete one partition of a FIFO queue with everything in it, or empty it (DeleteQueue, PurgeQueue). Bounded work: the
caller repeats while it is told so. A purge also forgets the deduplication ids.

KEYS   1 meta      HASH    queue attributes
       2 available ZSET
       3 inflight  ZSET
       4 state     HASH
       5 delayed   ZSET
       6 wakeups   LIST
       7 timer     STRING
       8 postponed ZSET
       9 paused    SET     paused message groups
       10 tags     HASH
       11 deleted  STRING  stands for a while after a deletion
       12 shards   SET     hash tags of the dead letters' partitions
       13 sources  SET     queues whose redrive policy names this one
       14 tasks    HASH    message move tasks
ARGV   as in delete_queue.lua
RETURN as delete_queue.lua
ERRORS QUEUE_NOT_FOUND, QUEUE_DAMAGED, PURGE_QUEUE_IN_PROGRESS
BOUND  1600 calls, 64 KiB
]]
return require("lib.idempotency").run(function()
  local clock = require("lib.clock")
  local removal = require("lib.queue_removal")

  local meta, available, inflight, state, delayed, _, _, postponed = unpack(KEYS)
  local refused, created = removal.begin(KEYS, ARGV, clock(ARGV[1]))
  if refused then
    return refused
  elseif ARGV[2] ~= "1" and ARGV[5] == "1" then
    return {0, created, "0"} -- marked: what belongs to it elsewhere goes first
  end

  -- A group with messages is in `available`, or paused, or one of its messages is in flight or delayed.
  local left = 1000
  for _, set in ipairs({available, inflight, delayed, postponed}) do
    local members = redis.call("ZRANGE", set, "0", left - 1)
    if #members > 0 then
      local groups = {}
      for i = 1, #members do
        groups[i] = set == available and members[i] or string.sub(members[i], 17)
      end
      removal.unlink_groups(meta, groups, "messages")
      redis.call("ZREM", set, unpack(members))
      left = left - #members
      if left == 0 then
        return {0, created, ARGV[6]}
      end
    end
  end
  local cursor = removal.unlink_paused(KEYS, ARGV, "messages")
  if cursor then
    return {0, created, cursor}
  end
  redis.call("UNLINK", state)
  redis.call("HDEL", meta, "messages", "delays")
  return {1, created, "0", removal.finish(KEYS, ARGV)}
end)
