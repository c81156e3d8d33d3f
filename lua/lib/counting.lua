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
  @ A B ...   first receives by dwell time, from when a message became visible: @ below 1 ms, then below 2, 4 ... ms.
              A FIFO message that the queue delayed: by the delay that the queue has when it is received
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

local last, field -- of the last first receive: many were sent in the same millisecond

-- Take down in `numbers` a first receive of a message that waited since then (ms, string).
function counting.dwell(numbers, now_ms, since)
  if since ~= last then
    local waited = now_ms - (tonumber(since) or now_ms)
    local _, power = math.frexp(waited > 0 and waited or 0)
    last, field = since, string.char(FIRST + power)
  end
  numbers[field] = (numbers[field] or 0) + 1
end

-- Take down in `numbers` that a message is received again; `receives`: with this one.
function counting.again(numbers, receives)
  local name = "r" .. math.min(receives, 4)
  numbers[name] = (numbers[name] or 0) + 1
end

-- Does a message of a standard queue count as received ("r") or unreceived ("u") in that ZSET, with so many receives in
-- its score?
function counting.place(base, zset, receives)
  if zset == base .. "inflight" then
    return "r"
  end
  return zset ~= base .. "delayed" and receives > 0 and "r" or "u"
end

return counting
