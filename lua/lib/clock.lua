-- The server's clock, read once per script. A non-empty argument wins: only tests use it.
local clock = {}

-- Returns the time as a string of 16 digits: microseconds since 1970.
function clock.now_us(given)
  if given ~= "" then
    return given
  end
  local time = redis.call("TIME")
  return time[1] .. string.sub("00000" .. time[2], -6)
end

return clock
