--[[
Look at some message groups of one partition: how many messages each has, and what its first one does.

KEYS   1 meta      HASH  queue attributes
       2 paused    SET   paused message groups
       3 inflight  ZSET  (FIFO) stamp group -> visible again (ms * 1000) + receives
       4 state     HASH  (FIFO) stamp -> N/first_ms/available_us[/B]
       5 delayed   ZSET  (FIFO) stamp group -> due (ms)
       6 postponed ZSET  (FIFO) stamp group -> sent (ms)
ALSO   group:NAME again:NAME
ARGV   1 now_us  "" = the server's clock
       2 fifo    "1" = a FIFO queue
       3... groups, at most 100
RETURN {messages, paused, key, state, until_ms, ...} of each group; the last three (FIFO) are of its first message: v
       visible, f in flight, d delayed. In a standard queue cancelled messages count until they reach the head
ERRORS QUEUE_NOT_FOUND
BOUND  800 calls, 4 MiB
]]
local fifo_key = require("lib.fifo_key")
local fifo = require("lib.fifo")
local fair_ring = require("lib.fair_ring")

local meta, paused = KEYS[1], KEYS[2]
local is_fifo = ARGV[2] == "1"
local visibility, delay = unpack(redis.call("HMGET", meta, "VisibilityTimeout", "DelaySeconds"))
if not visibility then
  return redis.error_reply("QUEUE_NOT_FOUND " .. meta)
end
local _, now = require("lib.clock")(ARGV[1], true)
local base, delay_ms = string.match(meta, ".*:"), (delay or 0) * 1000
local letters = {visible = "v", in_flight = "f", delayed = "d"}
local reply = {}
for i = 3, #ARGV do
  local group, key, state, until_ms = ARGV[i], "", "", ""
  local messages
  if is_fifo then
    local list = fifo.list(base, group)
    messages = redis.call("LLEN", list) / 2
    key = messages > 0 and redis.call("LINDEX", list, "0") or ""
    if key ~= "" then
      local place
      place, until_ms = fifo.place(base, key, fifo_key.stamp(key) .. group, tonumber(now), delay_ms)
      state = letters[place]
    end
  else
    messages = redis.call("LLEN", fair_ring.list(base, group)) / 2 + redis.call("ZCARD", fair_ring.again(base, group))
  end
  for _, value in ipairs({messages, redis.call("SISMEMBER", paused, group), key, state, until_ms}) do
    reply[#reply + 1] = value
  end
end
return reply
