-- Scores of `inflight`, `delayed` (standard) and `again:GROUP`: visible at (ms) * 1000 + receives of this delivery
-- cycle.
local score = {}

score.MOST_RECEIVES = 999 -- that it can count

function score.of(visible_ms, receives)
  return string.format("%d%03d", visible_ms, math.min(receives, score.MOST_RECEIVES))
end

function score.receives(text)
  return tonumber(string.sub(text, -3))
end

-- The same score, with another time.
function score.at(text, visible_ms)
  return string.format("%d%s", visible_ms, string.sub(text, -3))
end

-- When the message is visible (ms, a string of 13 digits).
function score.time(text)
  return string.sub(text, 1, -4)
end

-- The highest score of what is visible at that time (ms, string).
function score.highest(now)
  return now .. "999"
end

-- The field of meta that counts the messages in `again:GROUP` which have such a score: those that were never received
-- in this cycle were delayed.
function score.counter(text)
  return score.receives(text) == 0 and "arrived" or "returned"
end

return score
