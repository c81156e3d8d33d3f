--[[
If a worker dies, nobody knows which of the messages that it had in hand a handler had begun, nor which of them killed
it; and one that kills its workers must not bury the others. So what workers receive does not count yet (argument 4 of
receive_message.lua): the score has the receives so far, 0 in a new delivery cycle. They count when the worker says that
a message has failed. If the worker dies, they become visible again as if they had not been received.

A *suspect* was received before, and nobody said what became of that: it may have killed its worker. It comes alone, and
does not count yet either; its score keeps the receives that it has. It counts when its handler begins
(begin_message.lua), and the worker lets no other one run beside it (rqsqs/worker/isolation.py). So a worker that waits
for its end has no other one in hand that may be blamed.

A worker with quick handlers takes messages ahead: more than it has slots for. A fair queue hands out no more than that,
and its receives count at once: what is taken ahead would wait for others of its group.
]]
local ahead = {}

local ID = 24 -- characters of an id (lib/message.lua)
local CAUSE = "\152\184" -- how a packed cause begins: eight values, of which the first is such an id (envelope.py)

-- The slots of a worker, or nil.
function ahead.slots()
  local slots = string.match(ARGV[4], "%+(%d+)c?$")
  return slots and tonumber(slots)
end

-- Is what became visible again, with so many receives in its score, a suspect?
function ahead.is_suspect(base, member, receives)
  if receives == 0 then
    return true
  end
  local record = redis.call("HGET", base .. "store", member) or ""
  local at = string.find(record, CAUSE .. string.sub(member, 1, ID), 1, true)
  local is_packed, cause = pcall(cmsgpack.unpack, at and string.sub(record, at) or "")
  if not at or not is_packed or type(cause) ~= "table" then
    return true
  end
  local message = require("lib.message")
  local earlier = message.may_have_past(member) and message.parse(member).total or 0
  return cause[8] ~= earlier + receives -- the receives up to the failure
end

-- The receives of a suspect as a reply has them.
function ahead.marked(receives)
  return -2 - receives
end

-- The receives that a score gets; `receives`: as a reply has them.
function ahead.counted(receives)
  if receives < -1 then
    return -2 - receives
  end
  return receives < 0 and 0 or math.max(receives, 1)
end

return ahead
