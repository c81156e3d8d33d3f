-- Put behind a reply what happened in a partition, how many messages are there now, what the queue is ("p" paused, "d"
-- a dead-letter queue), and two of lib/gauges.lua.
return function(reply, base, is_fifo, now, since, groups)
  local unreceived, received = require("lib.population")(base, is_fifo)
  local created, paused, topology = unpack(redis.call("HMGET", base .. "meta", "created_us", "paused", "topology"))
  local is = (paused and "p" or "") .. (redis.call("EXISTS", base .. "sources") == 1 and "d" or "")
  local tail = {now, created or "0", topology or "", unreceived, received, is, since or "", groups}
  for _, entry in ipairs(redis.pcall("HGETALL", base .. "stats")) do
    tail[#tail + 1] = entry
  end
  if is_fifo then
    local bytes = tonumber(redis.call("HGET", base .. "meta", "bytes") or "0") or 0 -- as the server wrote it: "1e+09"
    tail[#tail + 1], tail[#tail + 2] = "bytes", string.format("%.0f", bytes)
  end
  require("lib.counting_consumers")(tail, base, now)
  for _, entry in ipairs(tail) do
    reply[#reply + 1] = entry
  end
end
