--[[
Second phase of moving messages from another hash slot: append them, once.

KEYS   1 meta       HASH    attributes of the destination
       2 handovers  HASH    batch -> message groups of which this hand-over has been done (standard: "" when all has)
       3 over       STRING  stands when the hand-over has been done and forgotten: this attempt is late
ARGV   1 now_us  "" = the server's clock
       2 fifo    "1" = FIFO queues
       3 tail    5 characters, unique to the call
       4 pass    as in send_message_fifo.lua
       5 batch
       6... group, record per message
RETURN {outcome ...}: "1" appended, "0" that had been done before, else "!PASS" as in send_message_fifo.lua
ERRORS QUEUE_NOT_FOUND
BOUND  2000 calls, 4 MiB
]]
local clock = require("lib.clock")
local transfer = require("lib.transfer")

local meta, handovers, over = unpack(KEYS)
local state = redis.call("HMGET", meta, "VisibilityTimeout", "partition", "last")
if not state[1] then
  return redis.error_reply("QUEUE_NOT_FOUND " .. meta)
end
local now_us, is_fifo, last = clock(ARGV[1]), ARGV[2] == "1", state[3] or "0"
local base = string.sub(meta, 1, -5)
local outcomes, reply = {}, {}
local is_over, known = redis.call("EXISTS", over) == 1, redis.call("HGET", handovers, ARGV[5])
local groups, done = known and cmsgpack.unpack(known) or {}, {}
for _, group in ipairs(groups) do
  done[group] = true
end

-- What becomes of all messages of a group.
local function outcome(group)
  if is_over or done[group] then
    return "0"
  end
  local place, count = "here", nil
  if is_fifo and state[2] then
    place, count = require("lib.partition")(state[2], group, ARGV[4])
  end
  if place == "elsewhere" then
    return "!"
  elseif place == "old" and redis.call("EXISTS", base .. "group:" .. group) == 0 then
    return "!" .. count .. ":" .. last
  end
  return "1"
end

local stamp_of_pass = is_fifo and string.match(ARGV[4], ":(%d+)$")
if stamp_of_pass and stamp_of_pass > last then
  redis.call("HSET", meta, "last", stamp_of_pass)
end
for i = 6, #ARGV, 2 do
  local group = is_fifo and ARGV[i] or ""
  outcomes[group] = outcomes[group] or outcome(group)
  if outcomes[group] == "1" then
    local position = string.format("%03d", (i - 6) / 2)
    transfer.put(meta, is_fifo, now_us, ARGV[3] .. position, ARGV[i], ARGV[i + 1])
  end
  reply[#reply + 1] = outcomes[group]
end
local before = #groups
for group, what in pairs(outcomes) do
  if what == "1" then
    groups[#groups + 1] = group
  end
end
if #groups > before then
  redis.call("HSET", handovers, ARGV[5], cmsgpack.pack(groups))
end
return reply
