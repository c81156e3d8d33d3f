-- Messages were handed out, and no token is out: wake a waiter if more are visible (`has_more`: that is known), or
-- become so at a time that has no timer. `delay_ms` as in lib/wakeups.lua.
return function(base, now_ms, has_more, delay_ms)
  if has_more or redis.call("EXISTS", base .. "ready", base .. "fair_ring", base .. "available") > 0
    or require("lib.wakeups").lacks_timer(base, now_ms, delay_ms) then
    redis.call("RPUSH", base .. "wakeups", "1")
  end
end
