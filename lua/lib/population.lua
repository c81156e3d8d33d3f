-- How many messages of a partition are unreceived, and received.
return function(base, is_fifo)
  local call, meta = redis.call, base .. "meta"
  if is_fifo then
    local received = call("HLEN", base .. "state")
    return (tonumber(call("HGET", meta, "messages")) or 0) - received, received
  end
  local numbers = call("HMGET", meta, "grouped", "tombstones", "returned", "arrived")
  for i = 1, 4 do
    numbers[i] = tonumber(numbers[i]) or 0 -- who edited it may still purge the queue
  end
  local grouped, tombstones, returned, arrived = unpack(numbers)
  return call("LLEN", base .. "ready") / 2 + grouped - tombstones + arrived + call("ZCARD", base .. "delayed"),
    call("ZCARD", base .. "inflight") + returned
end
