#!lua flags=allow-oom
--[[
Wake one waiter: what a keeper does when the time it guards has come, and what a waiter does when it goes away.

KEYS   1 bell    LIST    wake token
       2 keeper  STRING  who rings for the next due time
ARGV   1 waiter  "" = ring; else ring only if this waiter is the keeper, who gives the duty up
RETURN 1
ERRORS -
]]
local bell = require("lib.bell")

if ARGV[1] == "" then
  bell.ring(KEYS[1])
  if redis.call("HEXISTS", string.sub(KEYS[1], 1, -5) .. "meta", "VisibilityTimeout") == 0 then
    -- the queue is gone: the next waiter shall know, and nobody else would take the token away
    redis.call("PEXPIRE", KEYS[1], "1000")
  end
else
  bell.leave(KEYS[1], KEYS[2], ARGV[1])
end
return 1
