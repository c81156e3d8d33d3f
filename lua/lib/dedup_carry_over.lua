-- How long a partition has to remember deduplication ids of what may be elsewhere one day: longest_window (ms) counts
-- from when partitions are added, ids_until (ms) says it of groups that were in their old places afterwards.
return function(meta, place, is_stored, window_ms, now_us)
  if place == "here" then
    local have = redis.call("HGET", meta, "longest_window")
    if window_ms > 60000 and (not have or tonumber(have) < window_ms) then
      redis.call("HSET", meta, "longest_window", string.format("%.0f", window_ms))
    end
  elseif is_stored then
    local till = tonumber(string.sub(now_us, 1, 13)) + window_ms
    if till > tonumber(redis.call("HGET", meta, "ids_until") or "0") then
      redis.call("HSET", meta, "ids_until", string.format("%.0f", till))
    end
  end
end
