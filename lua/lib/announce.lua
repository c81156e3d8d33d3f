-- Tell waiters that messages are visible, or else when the earliest of those that were given another time is due
-- (earliest_ms, nil = none).
return function(base, now_ms, is_visible, earliest_ms)
  if is_visible then
    if redis.call("EXISTS", base .. "wakeups") == 0 then -- wakeups.wake()
      redis.call("RPUSH", base .. "wakeups", "1")
    end
  elseif earliest_ms then
    require("lib.wakeups").wake_for(base, now_ms, earliest_ms)
  end
end
