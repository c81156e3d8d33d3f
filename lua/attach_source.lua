--[[
A queue becomes (or ceases to be) the dead-letter queue of another: remember the source and the hash tags under which
its dead letters will be. Or it gets more partitions: remember their hash tags. Run on the queue's home partition.

KEYS   1 meta     HASH  queue attributes
       2 shards   SET   hash tags of the other partitions: its own, and those of its dead letters
       3 sources  SET   queues whose redrive policy names this one
ALSO   wakeups
ARGV   1 source  queue name, "" = only tags
       2 detach  "1" = the source names this queue no more
       3 state   "" or the partition state: how many partitions of its own it has, COUNT, or COUNT/BEFORE while there
                 may be groups in their old places. An earlier state than the present one changes nothing; neither does
                 one whose BEFORE is not the present COUNT
       4... hash tags
RETURN {field, value, ...}: the attributes, to be copied to the shards; `partition_state` is the state there is
ERRORS QUEUE_NOT_FOUND
BOUND  1100 calls, 256 KiB
]]
local meta, shards, sources = unpack(KEYS)
local source, is_detached, new_state = ARGV[1], ARGV[2] == "1", ARGV[3]
local created_us, deleting, state, partition =
  unpack(redis.call("HMGET", meta, "created_us", "deleting", "partition_state", "partition"))
if not created_us or deleting then
  return redis.error_reply("QUEUE_NOT_FOUND " .. meta)
end
if is_detached then
  redis.call("SREM", sources, source)
elseif source ~= "" then
  redis.call("SADD", sources, source)
end
local is_changed = new_state ~= "" and new_state ~= state
if is_changed then
  local before = string.match(new_state, "/(.*)$")
  -- a queue that is being created says the count in `partition` from its first moment on
  local present = state or string.match(partition or "0/1", "/(.*)$")
  if before and not string.find(meta, "%.fifo:meta$") then -- of a standard queue resharding may begin before it is done
    present = string.match(present, "^%d+")
  end
  if before and present ~= before or not before and not state and present ~= new_state
    or not require("lib.partition").is_later(new_state, state) then
    return redis.call("HGETALL", meta)
  end
  state = new_state
  redis.call("HSET", meta, "partition_state", state, "Partitions", string.match(state, "^%d+"))
end
local own, added = string.match(meta, "{(.-)}"), 0
for i = 4, #ARGV do
  if ARGV[i] ~= own then
    added = added + redis.call("SADD", shards, ARGV[i])
  end
end
if added > 0 or is_changed then -- no two lives of a queue share a topology
  local before = string.match(state or "", "/(.*)$") or "0"
  redis.call("HSET", meta, "topology", table.concat({created_us, redis.call("SCARD", shards), before}, ":"))
  require("lib.settings").mark(string.match(meta, ".*:"))
  require("lib.wakeups").wake(string.match(meta, ".*:")) -- a waiter learns of it, and wakes the next (flows/waiting.py)
end
return redis.call("HGETALL", meta)
