--[[
Deduplication: one key per deduplication id, SET NX with the window as its life; the value begins with the time of the
first send (16 digits, us) and ends with 8 characters of the call. This is the case that the id is taken: returns the
value of the message that holds it, or nil if it holds it no more, as its window is over (by the clock of a test, or if
its send was repeated, after which the key stays for an hour) or because the queue was purged or created anew since;
then the id belongs to `value`, if that is not nil. A call that comes again holds it still.
]]
local function ms(stamp)
  return tonumber(string.sub(stamp, 1, 13))
end

return function(base, name, value, window_ms, now_us)
  local first = redis.call("GET", name)
  local is_own = first and value and string.sub(first, 17) == string.sub(value, 17)
  if first and (is_own or ms(first) + window_ms > ms(now_us)) then
    local created_us, purged_us = unpack(redis.call("HMGET", base .. "meta", "created_us", "purged_us"))
    local stamp = string.sub(first, 1, 16)
    if stamp >= created_us and (not purged_us or stamp > purged_us) then
      return first
    end
  end
  if value then
    redis.call("SET", name, value, "PX", string.format("%d", window_ms))
  end
  return nil
end
