--[[
What happened in a partition since it was created: the HASH `stats`. Sends and deletions are not counted where they
happen; their numbers follow from what is there and from what is counted beside them, at each instant.

A message of a partition counts as *received* or *unreceived* by the place where it is:
  standard  received: in `inflight`, or returned to `again:GROUP`
            unreceived: in a list, in `delayed`, or arrived in `again:GROUP`
  FIFO      received: it has a state; unreceived: all others

  first receives = the sum of the dwell times
  deleted        = first receives + crossed - received - all that left as received
  sent           = first receives + crossed + unreceived + all that left as unreceived - moved_in - dead_in

A hand-out of a message that was never received before, or was returned unbegun each time, is a first receive. FIFO: a
message returned unbegun keeps its state and so stays received; what it needs besides is `crossed` -1 when it is handed
out again. An answer that a repeated call gets once more is no receive.

Fields:
  @ A B ...   first receives by dwell time, from when a message became visible: @ below 1 ms, then below 2, 4 ... ms
  r2 r3 r4    receives for the second and third time in a delivery cycle, and all further ones
  crossed     messages that became received without a first receive, less those that became unreceived again
  CAUSE_r CAUSE_u  messages that left as received, as unreceived. CAUSE is dead (to the dead-letter queue), expired,
              purged, cancelled, moved (out of a dead-letter queue, less those put back) or damaged (its record is gone)
  dead_in moved_in  dead letters that came, messages that a move brought
  empty dedup receives that found nothing, sends that were duplicates
  bytes       of records sent to a standard queue with Metrics = full; FIFO: it is in `meta`, where a send writes anyway
  s0 s1 ... f0 f1 ...  at the home: messages that workers handled, succeeded and failed, by the time that their handler
              took: 0 below 1 ms, then below 2, 4 ... ms; as heartbeats tell it (beat_consumer.lua)
  reclaimed   at the home: messages that workers received again about whose last receive nobody said anything
]]
local counting = {}

local FIRST = 64 -- "@"

-- Count what a table says: field -> number. An unusable `stats` harms no message (doctor tells of it).
function counting.add(base, numbers)
  for field, n in pairs(numbers) do
    if n ~= 0 then
      redis.pcall("HINCRBY", base .. "stats", field, n)
    end
  end
end

-- The power of two (ms) below which the time since then (ms, string) is.
local function power_of(now_ms, since)
  local _, power = math.frexp(math.max(now_ms - (tonumber(since) or now_ms), 0))
  return power
end

-- Take down in `numbers` a first receive of a message that waited since then (ms, string).
function counting.dwell(numbers, now_ms, since)
  local field = string.char(FIRST + power_of(now_ms, since))
  numbers[field] = (numbers[field] or 0) + 1
end

-- Count first receives of the messages at every other place of a list that begin with the time at which they were sent.
function counting.several(base, now_ms, messages)
  local numbers = {}
  for i = 1, #messages, 2 do
    counting.dwell(numbers, now_ms, string.sub(messages[i], 1, 13))
  end
  counting.add(base, numbers)
end

-- The same for a FIFO queue: keys that are only stamps, at every fourth place, those of a group in order.
function counting.several_fifo(base, now_ms, messages)
  local oldest, newest = messages[1], messages[1]
  for i = 5, #messages, 4 do
    local stamp = messages[i]
    if stamp < oldest then
      oldest = stamp
    elseif stamp > newest then
      newest = stamp
    end
  end
  local power = power_of(now_ms, string.sub(oldest, 1, 13))
  if power == power_of(now_ms, string.sub(newest, 1, 13)) then
    redis.pcall("HINCRBY", base .. "stats", string.char(FIRST + power), #messages / 4)
    return
  end
  local numbers = {}
  for i = 1, #messages, 4 do
    counting.dwell(numbers, now_ms, string.sub(messages[i], 1, 13))
  end
  counting.add(base, numbers)
end

-- Take down in `numbers` that a message is received again, the how manieth time.
function counting.again(numbers, receives)
  local field = "r" .. math.min(receives, 4)
  numbers[field] = (numbers[field] or 0) + 1
end

-- Does a message of a standard queue count as received ("r") or unreceived ("u") in that ZSET, with so many receives in
-- its score?
function counting.place(base, zset, receives)
  if zset == base .. "inflight" then
    return "r"
  end
  return zset ~= base .. "delayed" and receives > 0 and "r" or "u"
end

-- How many messages of a partition are unreceived, and received.
function counting.population(base, is_fifo)
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

-- Put behind a reply what happened in a partition, how many messages are there now, what the queue is ("p" paused, "d"
-- a dead-letter queue), and two of lib/gauges.lua.
function counting.report(reply, base, is_fifo, now, since, groups)
  local unreceived, received = counting.population(base, is_fifo)
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

return counting
