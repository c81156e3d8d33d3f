-- hot
-- Messages were handed out, and no token is out: wake a waiter if more are visible, or become so and nobody guards the
-- time.
return function(base, now_ms, timers)
  if redis.call("EXISTS", base .. "ready", base .. "ring") > 0
    or require("lib.bell").is_unguarded(base .. "keeper", now_ms, timers()) then
    redis.call("RPUSH", base .. "bell", "1")
  end
end
