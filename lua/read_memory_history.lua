--[[
Read the history of the memory of the server, from the newest minute on.

KEYS   1 memory  LIST  of each minute: its number, and more (append_memory.lua)
ARGV   1 skip   so many of the newest
       2 count  how many at most
RETURN {row, ...}: the oldest first
ERRORS -
BOUND  1 calls, 256 KiB
]]
return redis.call("LRANGE", KEYS[1], string.format("%d", -ARGV[1] - ARGV[2]), string.format("%d", -ARGV[1] - 1))
