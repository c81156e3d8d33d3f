-- When a message becomes visible (ms): "ms", or "+ms" from now (16 digits, us), late rather than early.
return function(due, now_us)
  if string.sub(due, 1, 1) ~= "+" then
    return tonumber(due)
  end
  local span = tonumber(string.sub(due, 2))
  return span > 0 and require("lib.after")(now_us) + span or tonumber(string.sub(now_us, 1, 13))
end
