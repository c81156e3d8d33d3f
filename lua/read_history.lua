--[[
Read the history of a queue.

KEYS   1 meta          HASH    queue attributes
       2 history       LIST    rows (append_history.lua)
       3 history_last  STRING  the last sample
       4 history_hours HASH    hour -> packed rows
ARGV   1 first  hour since 1970
       2 hours  how many, up to 48; 0 = only what is not packed
RETURN {last or "", {row ...}, {packed hour or "" ...}, before or ""}: before = the packed hour before the first one,
       where there is one
ERRORS QUEUE_NOT_FOUND
BOUND  10 calls, 1 MiB
]]
local meta, history, last, hours = unpack(KEYS)
if redis.call("EXISTS", meta) == 0 then
  return redis.error_reply("QUEUE_NOT_FOUND " .. meta)
end
local reply = {redis.call("GET", last) or "", redis.call("LRANGE", history, "0", "-1"), {}, ""}
local first, before, wanted = tonumber(ARGV[1]), -1, {}
for i = 1, ARGV[2] do
  wanted[i] = first + i - 1
end
if #wanted > 0 then
  for i, packed in ipairs(redis.call("HMGET", hours, unpack(wanted))) do
    reply[3][i] = packed or ""
  end
  for _, hour in ipairs(redis.call("HKEYS", hours)) do
    hour = tonumber(hour) or 0
    if hour < first and hour > before then
      before = hour
    end
  end
  reply[4] = before >= 0 and redis.call("HGET", hours, before) or ""
end
return reply
