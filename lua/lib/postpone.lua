-- A message to a FIFO queue that is delayed by itself ("+ms", "@ms") or by the queue ("" and a queue delay in ms). Enters
-- it in the sets of delayed messages; returns its key in the group's list and when it is due (ms; nil = at once).
return function(base, stamp, group, due, queue_delay, now_us)
  local now_ms = tonumber(string.sub(now_us, 1, 13))
  local member, key, due_ms = stamp .. group, stamp .. "q", now_ms + queue_delay
  if due == "" then
    redis.call("ZADD", base .. "postponed", string.sub(stamp, 1, 13), member)
  else
    due_ms = tonumber(string.sub(due, 2)) + (string.sub(due, 1, 1) == "+" and now_ms or 0)
    if due_ms <= now_ms then
      return stamp, nil
    end
    key = stamp .. "+" .. string.format("%.0f", due_ms)
    redis.call("ZADD", base .. "delayed", string.format("%.0f", due_ms), member)
  end
  redis.call("HSET", base .. "meta", "delays", "1")
  return key, due_ms
end
