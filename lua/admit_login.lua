--[[
Let somebody try to log in to the console, unless that was tried too often. Each key is a bucket: so many tries at once,
then one in each interval.

KEYS   1... buckets  STRING  when the bucket will be full again (ms)
ARGV   1 now_us  "" = the server's clock
       2... for each of them: interval_ms, tries at once
RETURN 1, or 0 = too often; then nothing is counted
ERRORS -
BOUND  6 calls, 16 KiB
]]
local _, now = require("lib.clock")(ARGV[1], true)
local now_ms = tonumber(now)
local count, full_ms = (#ARGV - 1) / 2, {} -- a cluster has one more key (rqsqs/_io/protocol.py)
for i = 1, count do
  local bucket = KEYS[i]
  local interval_ms, at_once = tonumber(ARGV[2 * i]), tonumber(ARGV[2 * i + 1])
  full_ms[i] = math.max(tonumber(redis.call("GET", bucket) or "0") or 0, now_ms) + interval_ms
  if full_ms[i] - now_ms > interval_ms * at_once then
    return 0
  end
end
for i = 1, count do
  local left_ms = string.format("%.0f", math.max(full_ms[i] - now_ms, 1))
  redis.call("SET", KEYS[i], string.format("%.0f", full_ms[i]), "PX", left_ms)
end
return 1
