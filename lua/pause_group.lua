--[[
Pause or resume a message group: a paused group hands nothing out; what is in flight stays so.

KEYS   1 meta    HASH  queue attributes
       2 paused  SET   paused message groups
       3 order   ZSET  available (FIFO) or ring (standard): who is served next
       4 ready   LIST  ready messages (standard)
       5 wakeups LIST  wakeup token
ALSO   group:NAME again:NAME inflight state delayed postponed
ARGV   1 group
       2 resume  "1" = resume
       3 fifo    "1" = a FIFO queue
RETURN 1 changed | 0 it was so before
ERRORS QUEUE_NOT_FOUND, QUEUE_DAMAGED
BOUND  20 calls, 64 KiB
]]
return require("lib.idempotency").run(function()
  local wakeups = require("lib.wakeups")
  local fair_ring = require("lib.fair_ring")
  local settings = require("lib.settings")

  local meta, paused, order = unpack(KEYS)
  local base, group, is_fifo = string.match(meta, ".*:"), ARGV[1], ARGV[3] == "1"
  if redis.call("HEXISTS", meta, "VisibilityTimeout") == 0 then
    return redis.error_reply("QUEUE_NOT_FOUND " .. meta)
  end
  local refused = is_fifo and require("lib.damaged").keys(base, group)
  if refused then
    return refused
  end
  if ARGV[2] == "1" then
    if redis.call("SREM", paused, group) == 0 then
      return 0
    end
    if redis.call("EXISTS", paused) == 0 then
      settings.write(base, {}, {"paused_groups"})
    end
    if is_fifo then
      require("lib.make_available")(base, group)
    else
      fair_ring.resume(base, group)
    end
    wakeups.wake(base)
    return 1
  end
  if redis.call("SADD", paused, group) == 0 then
    return 0
  end
  settings.write(base, {"paused_groups", "1"}, {})
  if not is_fifo and redis.call("HEXISTS", meta, "fair") == 0 then
    fair_ring.open(base) -- who pauses groups has some, if only among dead letters
  end
  redis.call("ZREM", order, group)
  return 1
end)
