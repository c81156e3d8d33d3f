--[[
First phase of moving messages to another hash slot: put them into the partition's outbox. While an outbox is there it
is returned as it is, so that a hand-over that was interrupted goes on.

KEYS   1 meta    HASH    attributes of the partition to move from
       2 outbox  LIST    batch id, destination, then key, group, record, past ...
ALSO   ready store group:NAME again:NAME fair_ring available inflight state delayed postponed paused moved
       stats timeline
ARGV   1 now_us       "" = the server's clock
       2 limit        messages at most, and never more than 100 (FIFO: 50) or 4 MiB
       3 destination  queue name; "" = the source of the first message
       4 fifo         "1" = FIFO queues
       5 batch        unique id of this hand-over
RETURN {batch, destination, key, group, record, past, ...}; without messages when they have arrived and the hand-over is
       to be forgotten; empty when nothing is to be moved
ERRORS QUEUE_NOT_FOUND, QUEUE_DAMAGED
BOUND  2000 calls, 4 MiB
]]
local transfer = require("lib.transfer")

local meta, outbox = unpack(KEYS)
local limit, wanted, is_fifo, batch = tonumber(ARGV[2]), ARGV[3], ARGV[4] == "1", ARGV[5]
if redis.call("HEXISTS", meta, "VisibilityTimeout") == 0 then
  return redis.error_reply("QUEUE_NOT_FOUND " .. meta)
end
local saved = redis.call("LRANGE", outbox, "0", "-1")
if #saved > 0 then
  return saved
end
local destination = wanted

-- All messages of a hand-over go to one queue, that of the first one.
local function reason_to_stop(source)
  if destination == "" then
    destination = source
  end
  return wanted == "" and source ~= destination and "other" or nil
end

local now_us, base = require("lib.clock")(ARGV[1]), string.match(meta, ".*:")
local taken, stop = transfer.take(base, is_fifo, now_us, limit, reason_to_stop)
if #taken == 0 then
  return type(stop) == "table" and stop or {}
end
local entries = {batch, destination}
for _, m in ipairs(taken) do
  for _, value in ipairs({m.key, m.group, m.record, m.past}) do
    entries[#entries + 1] = value
  end
end
redis.call("RPUSH", outbox, unpack(entries))
local timeline = require("lib.timeline")
for _, m in ipairs(taken) do
  timeline.add(base, "m", m.key, timeline.queue(base), destination, "", ">")
end
timeline.write(math.floor(now_us / 1000))
return entries
