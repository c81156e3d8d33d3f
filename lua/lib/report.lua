-- Put behind a reply what happened in a partition, how many messages are there now, what the queue is ("p" paused, "d"
-- a dead-letter queue), and two of lib/gauges.lua.
return function(reply, base, is_fifo, now, since, groups)
  local unreceived, received = require("lib.population")(base, is_fifo)
  local created, paused, topology, metrics, bytes = unpack(redis.call("HMGET", base .. "meta", "created_us", "paused",
    "topology", "Metrics", "bytes"))
  local is = (paused and "p" or "") .. (redis.call("EXISTS", base .. "sources") == 1 and "d" or "")
  local tail = {now, created or "0", topology or "", unreceived, received, is, since or "", groups}
  local stats = redis.pcall("HGETALL", base .. "stats")
  for i = 1, #stats, 2 do
    if stats[i] == "bytes" then
      bytes = bytes or stats[i + 1]
    else
      tail[#tail + 1], tail[#tail + 2] = stats[i], stats[i + 1]
    end
  end
  if is_fifo or metrics == "full" then
    local number = tonumber(bytes or "0") or 0 -- a server may have written "1e+09"
    tail[#tail + 1], tail[#tail + 2] = "bytes", string.format("%.0f", number)
  end
  require("lib.counting_consumers")(tail, base, now)
  for _, entry in ipairs(tail) do
    reply[#reply + 1] = entry
  end
end
