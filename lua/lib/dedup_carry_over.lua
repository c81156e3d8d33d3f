-- Deduplication carry-over: how long a partition has to remember deduplication ids of what may be elsewhere one day.
-- longest_window (ms) counts from when partitions are added; ids_until (ms) is the time for groups that were in their
-- old places afterwards.
local DEFAULT_MS = 60000 -- it is at least this long anyway

return function(base, place, is_stored, window_ms, now_us)
  local meta = base .. "meta"
  if place == "here" then
    local have = redis.call("HGET", meta, "longest_window")
    if window_ms > DEFAULT_MS and (not have or tonumber(have) < window_ms) then
      redis.call("HSET", meta, "longest_window", string.format("%d", window_ms))
    end
  elseif is_stored then
    local until_ms = math.floor(now_us / 1000) + window_ms
    if until_ms > tonumber(redis.call("HGET", meta, "ids_until") or "0") then
      redis.call("HSET", meta, "ids_until", string.format("%d", until_ms))
    end
  end
end
