--[[
A worker whose handlers are quick takes messages ahead: more than it has slots for (argument 4 of receive_message.lua).
If it dies, nobody knows which of them a handler had begun, and one that kills its workers must not bury the others. So
their receives do not count yet: their scores have 0 receives. They are counted when the worker says that a message has
failed. If the worker dies, they become visible again as if they had not been received. What was received before may be
what killed it, comes alone then, and counts. So a worker that waits for its end has no other one in hand.

A fair queue hands out no more than the worker has slots for, and its receives count at once: what is taken ahead would
wait for others of its group.
]]
local ahead = {}

-- The slots of a worker that takes messages ahead, or nil.
function ahead.slots()
  local slots = string.match(ARGV[4], "%+(%d+)c?$")
  return slots and tonumber(slots)
end

return ahead
