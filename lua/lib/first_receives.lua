-- Count first receives of messages by their dwell times (lib/counting.lua). Every `step`th entry of a list begins with
-- the time (ms, 13 digits) at which one was sent. To be called by pcall: an entry that does not is not worth a failure.
return function(base, now_ms, messages, step)
  local low, high, power, counts, _ = 0, 0, 0, {}, nil
  for i = 1, #messages, step do
    local waited = now_ms - string.sub(messages[i], 1, 13)
    if waited < low or waited >= high then
      _, power = math.frexp(waited > 0 and waited or 0)
      low, high = power > 0 and 2 ^ (power - 1) or -math.huge, 2 ^ power
    end
    counts[power] = (counts[power] or 0) + 1
  end
  for p, n in pairs(counts) do
    redis.pcall("HINCRBY", base .. "stats", string.char(64 + p), n)
  end
end
