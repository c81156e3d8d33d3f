-- A message to a FIFO queue that is delayed by itself ("+ms", "@ms") or by the queue ("" and a queue delay in ms).
-- Enters it in the sets of delayed messages; returns its key in the group's list and when it is due (ms; nil = at
-- once).
return function(base, stamp, group, due, queue_delay, now_us)
  local now_ms = math.ceil(now_us / 1000) -- late, but never early
  local member, key, due_ms = stamp .. group, stamp .. "q", now_ms + queue_delay
  if due == "" then
    redis.call("ZADD", base .. "postponed", string.format("%.0f", math.ceil(stamp / 1000)), member)
  else
    due_ms = tonumber(string.sub(due, 2))
    if string.sub(due, 1, 1) == "+" and due_ms > 0 then
      due_ms = now_ms + due_ms
    elseif string.sub(due, 1, 1) == "+" or due_ms * 1000 <= tonumber(now_us) then
      return stamp, nil
    end
    key = stamp .. "+" .. string.format("%.0f", due_ms)
    redis.call("ZADD", base .. "delayed", string.format("%.0f", due_ms), member)
  end
  redis.call("HSET", base .. "meta", "delays", "1")
  return key, due_ms
end
