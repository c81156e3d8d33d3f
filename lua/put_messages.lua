--[[
Second phase of moving messages from another hash slot: append them, once.

KEYS   1 meta   HASH    attributes of the destination
       2 batch  STRING  stands when this hand-over has been done
ARGV   1 now_us  "" = the server's clock
       2 fifo    "1" = FIFO queues
       3 tail    5 characters, unique to the call
       4... group, record per message
RETURN how many were appended; 0 = the hand-over had been done before
ERRORS QUEUE_NOT_FOUND
]]
local clock = require("lib.clock")
local transfer = require("lib.transfer")

local meta, batch = unpack(KEYS)
if redis.call("HEXISTS", meta, "VisibilityTimeout") == 0 then
  return redis.error_reply("QUEUE_NOT_FOUND " .. meta)
end
if not redis.call("SET", batch, "1", "NX", "PX", "86400000") then
  return 0
end
local now_us = clock(ARGV[1])
for i = 4, #ARGV, 2 do
  transfer.put(meta, ARGV[2] == "1", now_us, ARGV[3] .. string.format("%03d", (i - 4) / 2), ARGV[i], ARGV[i + 1])
end
return (#ARGV - 3) / 2
