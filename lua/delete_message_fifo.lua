#!lua flags=allow-oom
--[[
Delete messages of a FIFO queue (DeleteMessage, DeleteMessageBatch). A receipt works while its visibility timeout is
open; afterwards it is refused (strict, as in SQS) or works until the message is received again.

KEYS   1 meta      HASH  queue attributes
       2 available ZSET  group -> since when its head can be received
       3 inflight  ZSET  stamp group -> visible again (ms * 1000) + receives
       4 state     HASH  stamp -> receives/first_ms/available_us
       5 bell      LIST  wake token
ARGV   1 now_us  "" = the server's clock
       2 strict  "1" = a receipt whose visibility timeout is over is refused
       3... key, group, receives per message, from the receipt handle
RETURN {status ...}: 1 deleted, 0 was gone, -1 the receipt has expired
ERRORS QUEUE_NOT_FOUND
]]
local clock = require("lib.clock")
local bell = require("lib.bell")
local fifo = require("lib.fifo")

local meta, _, inflight, states, token = unpack(KEYS)
local now = string.sub(clock.now_us(ARGV[1]), 1, 13)
local strict = ARGV[2] == "1"
local q = fifo.open(meta)
local reply, touched, order, deleted = {}, {}, {}, 0

for i = 3, #ARGV, 3 do
  local key, group, receives = ARGV[i], ARGV[i + 1], tonumber(ARGV[i + 2])
  local stamp = string.sub(key, 1, 16)
  local member = stamp .. group
  local score = redis.call("ZSCORE", inflight, member)
  local status = 0
  if score then
    local same = tonumber(string.sub(score, -3)) == math.min(receives, 999)
    status = same and (string.sub(score, 1, -4) > now or not strict) and 1 or -1
  else
    local state = redis.call("HGET", states, stamp)
    if state then
      status = not strict and tonumber(string.match(state, "^%d+")) == receives and 1 or -1
    end
  end
  if status == 1 then
    local list = fifo.list(q, group)
    local head = redis.call("LPOP", list, "2")
    if head and head[1] ~= key then
      redis.call("LPUSH", list, head[2], head[1])
      local index = redis.call("LPOS", list, key)
      if index then
        fifo.remove_at(list, index / 2)
      else
        status = 0
      end
    elseif not head then
      status = 0
    end
    if score then
      redis.call("ZREM", inflight, member)
    end
    redis.call("HDEL", states, stamp)
    if status == 1 then
      deleted = deleted + 1
    end
    if not touched[group] then
      touched[group] = true
      order[#order + 1] = group
    end
  end
  reply[#reply + 1] = status
end

if deleted > 0 then
  redis.call("HINCRBY", meta, "messages", -deleted)
  local visible = false
  for _, group in ipairs(order) do
    if not fifo.offer(q, group) then
      if redis.call("EXISTS", fifo.list(q, group)) == 0 then
        redis.call("ZREM", q.available, group)
      end
    else
      visible = true
    end
  end
  if visible then
    bell.ring(token)
  end
elseif redis.call("EXISTS", meta) == 0 then
  return redis.error_reply("QUEUE_NOT_FOUND " .. meta)
end
return reply
