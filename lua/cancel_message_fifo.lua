#!lua flags=allow-oom
--[[
Take a waiting message out of a FIFO queue: cancel it, or give it another time at its place in the group. A message in
flight is left alone.

KEYS   1 meta      HASH    queue attributes
       2 available ZSET    group -> since when its head can be received
       3 inflight  ZSET    stamp group -> visible again + receives
       4 state     HASH    stamp -> N/first_ms/available_us[/B] (lib/fifo.lua)
       5 bell      LIST    wake token
       6 keeper    STRING  who rings for the next due time
ARGV   1 now_us  "" = the server's clock
       2 stamp   16 digits
       3 due     "" = cancel; else when it becomes visible: "ms", or "+ms" from now
       4... groups among which it is looked for
RETURN 1 done | 0 not found in these groups | -1 in flight
ERRORS QUEUE_NOT_FOUND
BOUND  600 calls, 4 MiB
]]
return require("lib.once").run(function()
  local clock = require("lib.clock")
  local bell = require("lib.bell")
  local offer = require("lib.offer")
  local fifo = require("lib.fifo")
  local sorted = require("lib.sorted")

  local meta, available, inflight, states, token, keeper = unpack(KEYS)
  local stamp, due = ARGV[2], ARGV[3]
  if redis.call("HEXISTS", meta, "VisibilityTimeout") == 0 then
    return redis.error_reply("QUEUE_NOT_FOUND " .. meta)
  end
  local now_us = clock(ARGV[1])
  local now = string.sub(now_us, 1, 13)
  local now_ms = tonumber(now)
  local base = string.sub(meta, 1, -5)
  local group, list, index
  for i = 4, #ARGV do
    group, list = ARGV[i], fifo.list(base, ARGV[i])
    index = sorted.find(list, stamp) or sorted.search(list, stamp, redis.call("HGET", meta, "large"))
    if index then
      break
    end
  end
  if not index then
    return 0
  end
  local member = stamp .. group
  local score = redis.call("ZSCORE", inflight, member)
  if score then
    if string.sub(score, 1, -4) > now then
      return -1
    end
    fifo.expire(base, member, now_ms)
  end

  redis.call("ZREM", base .. "delayed", member)
  redis.call("ZREM", base .. "postponed", member)
  if due == "" then
    fifo.remove_at(list, index)
    redis.call("HDEL", states, stamp)
    redis.call("HINCRBY", meta, "messages", -1)
  else
    local key = redis.call("LINDEX", list, 2 * index)
    local history = string.match(key, "/.*$") or ""
    local due_ms, new = require("lib.due")(due, now_us), stamp .. history
    if due_ms > now_ms then
      new = stamp .. "+" .. string.format("%.0f", due_ms) .. history
    end
    redis.call("LSET", list, 2 * index, new)
    local state = redis.call("HGET", states, stamp)
    if state then -- its turn comes when it can be received
      local n, first, since, b = fifo.parse(state)
      since = n == b and fifo.since(new) or due_ms > now_ms and string.format("%.0f", due_ms * 1000) or since
      redis.call("HSET", states, stamp, fifo.state(n, first, since, b))
    end
    if due_ms > now_ms then
      redis.call("ZADD", base .. "delayed", string.format("%.0f", due_ms), member)
      redis.call("HSET", meta, "delays", "1")
      bell.ring_for(token, keeper, now_ms, due_ms)
    end
  end
  if index == 0 then
    local turn = due == "" and (redis.call("ZSCORE", available, group) or now_us)
    redis.call("ZREM", available, group)
    if offer(base, group, turn) then
      bell.ring(token)
    end
  end
  return 1
end)
