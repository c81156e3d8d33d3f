-- The first whole millisecond that is not before now (16 digits, us): from it timeouts and delays count, so that they
-- are never over too early.
return function(now_us)
  local now_ms = tonumber(string.sub(now_us, 1, 13))
  return string.sub(now_us, -3) == "000" and now_ms or now_ms + 1
end
