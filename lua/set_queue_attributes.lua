--[[
Set and remove attributes of one partition (SetQueueAttributes, pause, resume).

KEYS   1 meta    HASH    queue attributes
       2 wakeups LIST    wakeup token
       3 timer   STRING  who wakes a waiter at the next due time
ALSO   wake:WAITER
ARGV   1 now_us    "" = the server's clock
       2 touch     "1" = it is a change of the queue: modified_us is set
       3 field     a field that must still have the value below, "" = no condition
       4 expected  its value, "" = absent
       5 removals  how many fields to remove
       6... fields to remove, then name, value of fields to set
RETURN {name, value ...}: the fields named, as they were; without those that were absent | 0 the condition did not hold
ERRORS QUEUE_NOT_FOUND
BOUND  30 calls, 256 KiB
]]
return require("lib.idempotency").run(function()
  local meta = KEYS[1]
  local base, now_us, field, expected, first_change = string.match(meta, ".*:"), ARGV[1], ARGV[3], ARGV[4], 6 + ARGV[5]
  local created_us, deleting = unpack(redis.call("HMGET", meta, "created_us", "deleting"))
  if not created_us or deleting then
    return redis.error_reply("QUEUE_NOT_FOUND " .. meta)
  end
  if field ~= "" and (redis.call("HGET", meta, field) or "") ~= expected then
    return 0
  end
  local removals, changes = {unpack(ARGV, 6, first_change - 1)}, {unpack(ARGV, first_change)}
  local names, before = {unpack(removals)}, {}
  for i = 1, #changes, 2 do
    names[#names + 1] = changes[i]
  end
  for i, value in ipairs(#names > 0 and redis.call("HMGET", meta, unpack(names)) or {}) do
    if value then
      before[#before + 1], before[#before + 2] = names[i], value
    end
  end
  if ARGV[2] == "1" then
    changes[#changes + 1] = "modified_us"
    changes[#changes + 1] = require("lib.clock")(now_us)
  end
  require("lib.settings").write(base, changes, removals)
  require("lib.wakeups").reset(base) -- a shorter delay, a resumed queue: what waits looks again
  return before
end)
