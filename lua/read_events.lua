--[[
Read events of the stream of a prefix, the oldest first.

KEYS   1 stream  STREAM  events (add_event.lua)
ARGV   1 now_us  "" = the server's clock
       2 after   only events behind this id; "" = those since
       3 since   ms since 1970, or "-" and ms before now
       4 limit   up to N of them, and up to 100
RETURN {now_ms, {id, {field, value ...}} ...}
ERRORS -
BOUND  3 calls, 4 MiB
]]
local KEPT_MS = 1209600000 -- 14 days
local _, now = require("lib.clock")(ARGV[1], true)
local since = tonumber(ARGV[3]) + (string.sub(ARGV[3], 1, 1) == "-" and now or 0)
since = math.max(since, now - KEPT_MS, 0)
local start = ARGV[2] ~= "" and "(" .. ARGV[2] or string.format("%.0f", since)
local reply = redis.call("XRANGE", KEYS[1], start, "+", "COUNT", math.min(tonumber(ARGV[4]), 100))
table.insert(reply, 1, tonumber(now))
return reply
