--[[
Resharding: is one state of a queue's partitions a later one than another? A state ends with COUNT, or COUNT/BEFORE
while there may be something in its old place; the count only rises, and BEFORE goes once for each count. A slow or
repeated call with an earlier state changes nothing.
]]
local function parts(state)
  local count, before = string.match(state, "^(%d+)/?(%d*)$")
  return tonumber(count), before
end

return function(new, old)
  local count, before = parts(new)
  local have, have_before = parts(old or "0")
  return count > have or count == have and before == "" and have_before ~= ""
end
