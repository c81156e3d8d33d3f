--[[
List names in order: of queues (ListQueues), or of alarms.

KEYS   1 names  ZSET  all with score 0
ARGV   1 prefix  "" = all
       2 after   only names behind this one, "" = from the start
       3 limit
RETURN {name, ...}
ERRORS -
BOUND  1 calls, 256 KiB
]]
local from = "-"
if ARGV[1] ~= "" then
  from = "[" .. ARGV[1]
end
if ARGV[2] ~= "" and (ARGV[1] == "" or ARGV[2] >= ARGV[1]) then
  from = "(" .. ARGV[2]
end
local to = ARGV[1] ~= "" and "[" .. ARGV[1] .. "\255" or "+"
return redis.call("ZRANGEBYLEX", KEYS[1], from, to, "LIMIT", "0", ARGV[3])
