-- hot
-- The server's clock, read once per script: the microseconds since 1970 as a string of 16 digits, and with_ms also the
-- milliseconds in it as a string of 13. An argument that is not empty is the time instead: only tests pass one.
return function(given, with_ms)
  local now_us = given
  if given == "" then
    local time = redis.call("TIME")
    local us = time[2]
    now_us = time[1] .. (#us == 6 and us or string.sub("00000" .. us, -6))
  end
  return now_us, with_ms and string.sub(now_us, 1, 13)
end
