-- hot
-- The server's clock, read once per script: the microseconds since 1970 as a string of 16 digits, and the milliseconds
-- in it as a string of 13. An argument that is not empty is the time instead: only tests pass one.
return function(given)
  if given ~= "" then
    return given, string.sub(given, 1, 13)
  end
  local time = redis.call("TIME")
  local now_us = time[1] .. string.sub("00000" .. time[2], -6)
  return now_us, string.sub(now_us, 1, 13)
end
