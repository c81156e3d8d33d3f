--[[
Deduplication: one key per deduplication id, SET NX with the window as its life; the value begins with the time of the
first send (16 digits, us) and ends with 8 characters of the call.
]]
local deduplication = {}

local DEFAULT_MS = 60000 -- ids are remembered that long anyway when partitions are added

local function ms(stamp)
  return tonumber(string.sub(stamp, 1, 13))
end

-- An id is taken: the value of the message that holds it. nil if it holds it no more, as its window is over (by the
-- clock of a test, or if its send was repeated, after which the key stays for an hour) or because the queue was purged
-- or created anew since; then the id belongs to `value`, if that is not nil. A call that comes again holds it in any
-- case: it was done.
function deduplication.holder(base, name, value, window_ms, now_us)
  local first = redis.pcall("GET", name)
  first = type(first) == "string" and first -- else it is damaged, and overwritten
  if first and value and string.sub(first, 17) == string.sub(value, 17) then
    return first
  elseif first and ms(first) + window_ms > ms(now_us) then
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

-- How long a partition has to remember ids of what may be elsewhere one day. longest_window (ms) counts from when
-- partitions are added; ids_until (ms) is the time for groups that were in their old places afterwards.
function deduplication.carry_over(base, place, is_stored, window_ms, now_us)
  local meta = base .. "meta"
  if place == "here" then
    local have = redis.call("HGET", meta, "longest_window")
    if window_ms > DEFAULT_MS and (not have or tonumber(have) < window_ms) then
      redis.call("HSET", meta, "longest_window", string.format("%d", window_ms))
    end
  elseif is_stored then
    local until_ms = math.floor(now_us / 1000) + window_ms
    if until_ms > tonumber(redis.call("HGET", meta, "ids_until") or "0") then
      redis.call("HSET", meta, "ids_until", string.format("%d", until_ms))
    end
  end
end

return deduplication
