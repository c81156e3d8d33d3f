#!lua flags=allow-oom
--[[
Wake one waiter: what a timer owner does when its time has come, and what a waiter does when it goes away.

KEYS   1 bell    LIST    wakeup token; another list of tokens of lib/bell.lua: it gets back one that was taken from it
       2 keeper  STRING  who guards the next due time
ARGV   1 now_us  "" = the server's clock
       2 waiter  "" = wake somebody
       3 watch   "1" = the waiter owns a due time: wake somebody if it has come; "" = the waiter goes away: if it has a
                 duty (lib/bell.lua), another one takes it over
RETURN 0, or in how many ms a waiter that watches comes again
ERRORS -
BOUND  20 calls, 64 KiB
]]
local bell = require("lib.bell")

if ARGV[2] == "" then
  if string.sub(KEYS[1], -5) ~= ":bell" then
    redis.call("RPUSH", KEYS[1], "1")
    redis.call("PEXPIRE", KEYS[1], "2000", "NX")
    return 0
  end
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
