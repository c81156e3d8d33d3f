--[[
Second phase of moving messages from another hash slot: append them, once.

KEYS   1 meta       HASH    attributes of the destination
       2 handovers  HASH    batch -> message groups of which this hand-over has been done (standard: "" when all has)
       3 over       STRING  stands when the hand-over has been done and forgotten: this attempt is late
ALSO   ready group:NAME fair_ring available inflight state delayed postponed paused wakeups stats timeline
ARGV   1 now_us  "" = the server's clock
       2 fifo    "1" = FIFO queues
       3 tail    5 characters, unique to the call
       4 token   as in send_message_fifo.lua
       5 batch
       6 source  the queue that they come from
       7... message id there, group, record per message
RETURN {outcome ...}: "1" appended, "0" that had been done before, else "!TOKEN" as in send_message_fifo.lua
ERRORS QUEUE_NOT_FOUND, QUEUE_DAMAGED
BOUND  2000 calls, 4 MiB
]]
local transfer = require("lib.transfer")

local meta, handovers, over = unpack(KEYS)
local is_fifo, tail, token, batch = ARGV[2] == "1", ARGV[3], ARGV[4], ARGV[5]
local visibility, partition, last = unpack(redis.call("HMGET", meta, "VisibilityTimeout", "partition", "last"))
if not visibility then
  return redis.error_reply("QUEUE_NOT_FOUND " .. meta)
end
last = last or "0"
local base, now_us = string.match(meta, ".*:"), require("lib.clock")(ARGV[1])
local outcomes, reply, appended = {}, {}, 0
local is_over, known = redis.call("EXISTS", over) == 1, redis.call("HGET", handovers, batch)
local groups, done = known and cmsgpack.unpack(known) or {}, {}
for _, group in ipairs(groups) do
  done[group] = true
end

-- The outcome of all messages of a group.
local function outcome(group)
  if is_over or done[group] then
    return "0"
  end
  local place, count = "here", nil
  if is_fifo and partition then
    place, count = require("lib.partition").place(partition, group, token)
  end
  if place == "elsewhere" then
    return "!"
  elseif place == "old" and redis.call("EXISTS", base .. "group:" .. group) == 0 then
    return "!" .. count .. ":" .. last
  end
  return "1"
end

local stamp_of_token = is_fifo and string.match(token, ":(%d+)$")
if stamp_of_token and stamp_of_token > last then
  redis.call("HSET", meta, "last", stamp_of_token)
end
local timeline = require("lib.timeline")
for i = 7, #ARGV, 3 do
  local id, group, record = unpack(ARGV, i, i + 2)
  local counted = is_fifo and group or ""
  outcomes[counted] = outcomes[counted] or outcome(counted)
  if outcomes[counted] == "1" then
    local key = transfer.put(base, is_fifo, now_us, tail .. string.format("%03d", (i - 7) / 3), group, record)
    timeline.add(base, "m", key, ARGV[6], timeline.queue(base), id, "<")
    appended = appended + 1
  end
  reply[#reply + 1] = outcomes[counted]
end
timeline.write(math.floor(now_us / 1000))
require("lib.counting").add(base, {moved_in = appended})
local before = #groups
for group, what in pairs(outcomes) do
  if what == "1" then
    groups[#groups + 1] = group
  end
end
if #groups > before then
  redis.call("HSET", handovers, batch, cmsgpack.pack(groups))
end
return reply
