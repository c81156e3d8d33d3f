--[[
First phase of moving messages to another hash slot: put them into the partition's outbox. While an outbox is there it
is returned as it is, so that a hand-over that was interrupted goes on.

KEYS   1 meta    HASH    attributes of the partition to move from
       2 outbox  LIST    batch id, destination, then key, group, record, past ...
ARGV   1 now_us       "" = the server's clock
       2 limit        at most so many messages, up to 100 (FIFO: 50) and 4 MiB
       3 destination  queue name; "" = the source of the first message
       4 fifo         "1" = FIFO queues
       5 batch        unique id of this hand-over
RETURN {batch, destination, key, group, record, past, ...}; without messages when they have arrived and the hand-over is
       to be forgotten; empty when nothing is to be moved
ERRORS QUEUE_NOT_FOUND
BOUND  2000 calls, 4 MiB
]]
local clock = require("lib.clock")
local transfer = require("lib.transfer")

local meta, outbox = unpack(KEYS)
if redis.call("HEXISTS", meta, "VisibilityTimeout") == 0 then
  return redis.error_reply("QUEUE_NOT_FOUND " .. meta)
end
local saved = redis.call("LRANGE", outbox, "0", "-1")
if #saved > 0 then
  return saved
end
local destination = ARGV[3]
local function accept(source)
  if ARGV[3] == "" then
    if destination == "" then
      destination = source
    end
    return source ~= destination and "other" or nil
  end
  return nil
end
local taken = transfer.take(meta, ARGV[4] == "1", clock(ARGV[1]), tonumber(ARGV[2]), accept)
if #taken == 0 then
  return {}
end
local entries = {ARGV[5], destination}
for _, m in ipairs(taken) do
  entries[#entries + 1] = m.key
  entries[#entries + 1] = m.group
  entries[#entries + 1] = m.record
  entries[#entries + 1] = m.past
end
redis.call("RPUSH", outbox, unpack(entries))
return entries
