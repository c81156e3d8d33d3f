#!lua flags=allow-oom
--[[
Wake one waiter: what a timer owner does when its time has come, and what a waiter does when it goes away.

KEYS   1 wakeups LIST    wakeup token; or another list of tokens of lib/wakeups.lua: it gets back one that was taken
       2 timer   STRING  who wakes a waiter at the next due time
ALSO   meta backup
ARGV   1 now_us  "" = the server's clock
       2 waiter  "" = wake a waiter
       3 watch   "1" = the waiter owns the timer: wake a waiter if its time has come; "" = the waiter goes away: if it
                 has a duty (lib/wakeups.lua), another one takes it over
RETURN 0, or in how many ms a waiter that watches comes again
ERRORS -
BOUND  20 calls, 64 KiB
]]
local wakeups = require("lib.wakeups")

local list, now_us, waiter, is_watching = KEYS[1], ARGV[1], ARGV[2], ARGV[3] == "1"
local base = string.match(list, "^(.*:)wakeups$")
if not base then
  redis.call("RPUSH", list, "1")
  redis.call("PEXPIRE", list, "2000", "NX")
elseif waiter == "" then
  wakeups.wake(base)
  if redis.call("HEXISTS", base .. "meta", "VisibilityTimeout") == 0 then
    -- the queue is gone: the next waiter shall know, and no other call would take the token away
    redis.call("PEXPIRE", list, "1000")
  end
elseif is_watching then
  return wakeups.watch(base, tonumber(string.sub(require("lib.clock")(now_us), 1, 13)), waiter)
else
  wakeups.leave(base, waiter)
end
return 0
