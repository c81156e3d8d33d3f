-- When a message becomes visible (ms): "+ms" from now, "ms" or "@ms" at that time, "" after `delay_ms`. Late rather
-- than early.
return function(due, delay_ms, now_us)
  local span = delay_ms
  if string.sub(due, 1, 1) == "+" then
    span = tonumber(due)
  elseif due ~= "" then
    return tonumber(string.match(due, "%d+$"))
  end
  return span > 0 and math.ceil(now_us / 1000) + span or math.floor(now_us / 1000)
end
