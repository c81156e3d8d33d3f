--[[
Set and remove attributes of one partition (SetQueueAttributes, pause, resume).

KEYS   1 meta    HASH    queue attributes
       2 wakeups LIST    wakeup token
       3 timer   STRING  who wakes somebody at the next due time
ARGV   1 now_us    "" = the server's clock
       2 touch     "1" = it is a change of the queue: modified_us is set
       3 field     a field that must still have the value below, "" = no condition
       4 expected  its value, "" = absent
       5 removals  how many fields to remove
       6... fields to remove, then name, value of fields to set
RETURN 1 done | 0 the condition did not hold
ERRORS QUEUE_NOT_FOUND
BOUND  30 calls, 256 KiB
]]
return require("lib.idempotency").run(function()
  local clock = require("lib.clock")
  local settings = require("lib.settings")
  local wakeups = require("lib.wakeups")

  local meta = unpack(KEYS)
  local state = redis.call("HMGET", meta, "created_us", "deleting")
  if not state[1] or state[2] then
    return redis.error_reply("QUEUE_NOT_FOUND " .. meta)
  end
  if ARGV[3] ~= "" and (redis.call("HGET", meta, ARGV[3]) or "") ~= ARGV[4] then
    return 0
  end
  local removals, changes = {}, {}
  for i = 6, 5 + tonumber(ARGV[5]) do
    removals[#removals + 1] = ARGV[i]
  end
  for i = 6 + #removals, #ARGV do
    changes[#changes + 1] = ARGV[i]
  end
  if ARGV[2] == "1" then
    changes[#changes + 1] = "modified_us"
    changes[#changes + 1] = clock(ARGV[1])
  end
  settings.write(meta, changes, removals)
  -- A shorter delay, a resumed queue: what waits looks again.
  wakeups.reset(string.sub(meta, 1, -5))
  return 1
end)
