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
local call = redis.call
local meta, available, inflight, states, token = KEYS[1], KEYS[2], KEYS[3], KEYS[4], KEYS[5]
local now = string.sub(require("lib.clock")(ARGV[1]), 1, 13)
local strict = ARGV[2] == "1"
local base = string.sub(meta, 1, -5)
local reply, groups, members, stamps, deleted = {}, {}, {}, {}, 0

for i = 3, #ARGV, 3 do
  local key, group = ARGV[i], ARGV[i + 1]
  local stamp = #key == 16 and key or string.sub(key, 1, 16)
  local member = stamp .. group
  local score = not members[member] and call("ZSCORE", inflight, member)
  local status = 0
  if score then
    local same = tonumber(string.sub(score, -3)) == math.min(tonumber(ARGV[i + 2]), 999)
    status = same and (not strict or string.sub(score, 1, -4) > now) and 1 or -1
  elseif not members[member] then
    local state = call("HGET", states, stamp)
    if state then
      status = not strict and string.match(state, "^%d+") == ARGV[i + 2] and 1 or -1
    end
  end
  if status == 1 then
    local list = base .. "group:" .. group
    local head = call("LPOP", list, "2")
    if not head then
      status = 0
    elseif head[1] ~= key then -- not the first of those in flight
      call("LPUSH", list, head[2], head[1])
      local position = call("LPOS", list, key)
      if not position then -- it was given another time since
        call("ZREM", base .. "delayed", member)
      end
      local index = position and position / 2 or require("lib.sorted").find(list, stamp)
      if index then
        require("lib.fifo").remove_at(list, index)
      else
        status = 0
      end
    end
    deleted = deleted + status
    members[member] = true
    members[#members + 1] = member
    stamps[#stamps + 1] = stamp
    if groups[#groups] ~= group then
      groups[#groups + 1] = group
    end
  end
  reply[#reply + 1] = status
end

if deleted > 0 then
  call("ZREM", inflight, unpack(members))
  call("HDEL", states, unpack(stamps))
  call("HINCRBY", meta, "messages", -deleted)
  local visible = false
  for i = 1, #groups do
    if require("lib.offer")(base, groups[i]) then
      visible = true
    elseif not strict then -- its head may have been visible
      call("ZREM", available, groups[i])
    end
  end
  if visible and call("EXISTS", token) == 0 then -- ring the bell
    call("RPUSH", token, "1")
  end
elseif call("EXISTS", meta) == 0 then
  return redis.error_reply("QUEUE_NOT_FOUND " .. meta)
end
return reply
