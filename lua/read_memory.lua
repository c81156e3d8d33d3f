--[[
Read how much memory the server has that holds a key.

KEYS   1 key  any: the answer is of its server
ARGV   -
RETURN {used, limit or "", run_id, is_cluster}: bytes; the limit is maxmemory, or else the memory of the machine
ERRORS -
BOUND  1 calls, 16 KiB
]]
local info = redis.call("INFO", "memory", "server", "cluster")
local function number(name)
  return string.match(info, "[\r\n]" .. name .. ":(%d+)") or ""
end
local limit = number("maxmemory")
if limit == "" or limit == "0" then
  limit = number("total_system_memory")
end
return {
  number("used_memory"), limit, string.match(info, "[\r\n]run_id:(%w+)") or "", tonumber(number("cluster_enabled")) or 0
}
