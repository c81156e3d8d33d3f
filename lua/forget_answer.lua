#!lua flags=allow-oom
--[[
The caller of receive_message.lua has got its answer, with the messages that were deleted at once: what its slot keeps
of them is forgotten, so that they take no memory any more. That there was such a call stays known: a first attempt that
arrives later than its repetition hands nothing out.

KEYS   1 call    STRING  the caller's slot (lib/idempotency.lua)
ARGV   1 number  of the call
RETURN 1 | 0 the slot has another call by now
ERRORS -
BOUND  20 calls, 64 KiB
]]
if redis.call("GETRANGE", KEYS[1], "-8", "-1") ~= ARGV[1] then
  return 0
end
redis.call("SET", KEYS[1], "!" .. ARGV[1], "KEEPTTL")
return 1
