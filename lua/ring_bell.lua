#!lua flags=allow-oom
--[[
Wake one waiter: what a keeper does when the time it guards has come, and what a waiter does when it goes away.

KEYS   1 bell    LIST    wake token
       2 keeper  STRING  who rings for the next due time
ARGV   1 now_us  "" = the server's clock
       2 waiter  "" = ring
       3 watch   "1" = the waiter is the keeper, or looks after it: ring if it is time; "" = the waiter goes away: if it is
                 the keeper, it gives the duty up, and another one is woken
RETURN 0, or in how many ms a waiter that watches comes again
ERRORS -
]]
local bell = require("lib.bell")

if ARGV[2] == "" then
  bell.ring(KEYS[1])
  if redis.call("HEXISTS", string.sub(KEYS[1], 1, -5) .. "meta", "VisibilityTimeout") == 0 then
    -- the queue is gone: the next waiter shall know, and nobody else would take the token away
    redis.call("PEXPIRE", KEYS[1], "1000")
  end
elseif ARGV[3] == "1" then
  return bell.watch(KEYS[1], KEYS[2], tonumber(string.sub(require("lib.clock")(ARGV[1]), 1, 13)), ARGV[2])
else
  bell.leave(KEYS[1], KEYS[2], ARGV[2])
end
return 0
