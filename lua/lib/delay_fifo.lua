-- Enter a message to a FIFO queue in the sets of delayed ones: it is delayed by itself, or ("") by the queue. Returns
-- its key in the group's list and when it is due (ms; nil = at once).
return function(base, stamp, group, due, queue_delay_ms, now_us)
  local member = stamp .. group
  local due_ms = require("lib.due")(due, queue_delay_ms, now_us)
  if due_ms * 1000 <= tonumber(now_us) then
    return stamp, nil
  end
  local key = stamp .. "q"
  if due == "" then
    redis.call("ZADD", base .. "postponed", string.format("%d", math.ceil(stamp / 1000)), member)
  else
    key = require("lib.fifo_key").with_due(stamp, due_ms)
    redis.call("ZADD", base .. "delayed", string.format("%d", due_ms), member)
  end
  redis.call("HSET", base .. "meta", "delays", "1")
  return key, due_ms
end
