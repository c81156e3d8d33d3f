--[[
The answer of a receive that hands nothing out, of either kind of queue. `wait` and `waiter` are those of the caller,
`sets` as in lib/wakeups.lua. Why:
  nil        there is nothing: the caller waits on, or leaves
  "again"    visible messages may be left: it comes again at once
  "limited"  too many are in flight: it looks again after a while, and leaves the tokens to those who can take messages
]]
return function(base, topology, now_ms, wait, waiter, sets, why, missing_dlq)
  local wakeups = require("lib.wakeups")
  local wake_at, wait_until
  if why == "limited" then
    wake_at, wait_until = -1, wakeups.step_aside(base, wait, now_ms, sets, waiter)
  elseif why == "again" then
    wake_at, wait_until = now_ms, wakeups.wait_until(base, wait, now_ms)
  else
    wake_at, wait_until = wakeups.wait_on(base, wait, now_ms, sets, waiter)
  end
  return {now_ms, topology, wake_at, wait_until, missing_dlq or "", {}}
end
