--[[
Pause or resume a message group: a paused group hands nothing out; what is in flight stays so.

KEYS   1 meta    HASH  queue attributes
       2 paused  SET   paused message groups
       3 order   ZSET  available (FIFO) or ring (standard): who is served next
       4 ready   LIST  ready messages (standard)
       5 bell    LIST  wake token
ARGV   1 group
       2 resume  "1" = resume
       3 fifo    "1" = a FIFO queue
RETURN 1 changed | 0 it was so before
ERRORS QUEUE_NOT_FOUND
BOUND  20 calls, 64 KiB
]]
return require("lib.once").run(function()
  local bell = require("lib.bell")
  local fifo = require("lib.fifo")
  local ring = require("lib.ring")
  local settings = require("lib.settings")

  local meta, paused, order, _, token = unpack(KEYS)
  local group = ARGV[1]
  if redis.call("HEXISTS", meta, "VisibilityTimeout") == 0 then
    return redis.error_reply("QUEUE_NOT_FOUND " .. meta)
  end
  if ARGV[2] == "1" then
    if redis.call("SREM", paused, group) == 0 then
      return 0
    end
    if redis.call("EXISTS", paused) == 0 then
      settings.write(meta, {}, {"paused_groups"})
    end
    if ARGV[3] == "1" then
      require("lib.offer")(string.sub(meta, 1, -5), group)
    else
      ring.resume(string.sub(meta, 1, -5), group)
    end
    bell.ring(token)
    return 1
  end
  if redis.call("SADD", paused, group) == 0 then
    return 0
  end
  settings.write(meta, {"paused_groups", "1"}, {})
if ARGV[3] ~= "1" and redis.call("HEXISTS", meta, "fair") == 0 then
  ring.open(string.sub(meta, 1, -5)) -- who pauses groups has some, if only among dead letters
end
  redis.call("ZREM", order, group)
  return 1
end)
