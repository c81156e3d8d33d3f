--[[
Deduplication: one key per deduplication id, SET NX with the window as its life; the value begins with the time of the
first send (16 digits, us). A purge or a new life of the queue forgets what came before it.
]]
local dedup = {}

-- Claim an id for `value`. Returns nil if it is new, else the value of the message that has it.
function dedup.claim(meta, name, value, window_ms, now_ms)
  local px = string.format("%.0f", window_ms)
  if redis.call("SET", name, value, "NX", "PX", px) then
    return nil
  end
  local first = redis.call("GET", name)
  if first and tonumber(string.sub(first, 1, 13)) + window_ms > now_ms then
    local since = redis.call("HMGET", meta, "created_us", "purged_us")
    local stamp = string.sub(first, 1, 16)
    if stamp >= since[1] and (not since[2] or stamp > since[2]) then
      return first
    end
  end
  redis.call("SET", name, value, "PX", px)
  return nil
end

return dedup
