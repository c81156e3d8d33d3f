--[[
Move messages of a dead-letter queue's partition back to partitions in the same hash slot: one step of a message move
task.

KEYS   1 meta  HASH  attributes of the partition to move from
ALSO   ready store group:NAME again:NAME fair_ring available inflight state delayed postponed paused moved stats
       timeline; of another queue: meta ready group:NAME fair_ring available inflight state delayed postponed paused
       wakeups stats timeline
ARGV   1 now_us       "" = the server's clock
       2 limit        messages at most, and never more than 100 (FIFO: 50) or 4 MiB
       3 destination  queue name; "" = each message's own source
       4 fifo         "1" = FIFO queues
       5 tail         5 characters, unique to the call
RETURN {moved, stop}: stop = "" while it went well, "more" = there is more to look through, "no_source", or the name of
       a queue that has no partition here that takes the message
ERRORS QUEUE_NOT_FOUND, QUEUE_DAMAGED
BOUND  2500 calls, 4 MiB
]]
return require("lib.idempotency").run(function()
  local deadletter = require("lib.deadletter")
  local timeline = require("lib.timeline")
  local transfer = require("lib.transfer")

  local meta, limit, destination, is_fifo, tail = KEYS[1], tonumber(ARGV[2]), ARGV[3], ARGV[4] == "1", ARGV[5]
  if redis.call("HEXISTS", meta, "VisibilityTimeout") == 0 then
    return redis.error_reply("QUEUE_NOT_FOUND " .. meta)
  end
  local base, now_us = string.match(meta, ".*:"), require("lib.clock")(ARGV[1])
  local refused = is_fifo and require("lib.damaged").keys(base)
  if refused then
    return refused
  end
  local elsewhere = transfer.elsewhere(base, is_fifo, destination)
  local taken, stop = transfer.take(base, is_fifo, now_us, limit, elsewhere)
  if type(stop) == "table" then
    if #taken == 0 then
      return stop
    end
    stop = "more" -- and the next call is refused
  end
  local moved_in = {}
  for i, m in ipairs(taken) do
    local target = deadletter.base(base, destination ~= "" and destination or m.source)
    local new_key = transfer.put(target, is_fifo, now_us, tail .. string.format("%03d", i - 1), m.group, m.record)
    timeline.moved(base, target, m.key, new_key)
    moved_in[target] = (moved_in[target] or 0) + 1
  end
  for target, n in pairs(moved_in) do
    require("lib.counting").add(target, {moved_in = n})
  end
  timeline.write(math.floor(now_us / 1000))
  return {#taken, stop or ""}
end)
