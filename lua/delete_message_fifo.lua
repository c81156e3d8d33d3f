#!lua flags=allow-oom
--[[
Delete messages of a FIFO queue (DeleteMessage, DeleteMessageBatch). A receipt works while its visibility timeout is
open; afterwards it is refused (strict, as in SQS) or works until the message is received again.

KEYS   1 meta      HASH  queue attributes
       2 inflight  ZSET  stamp group -> visible again (ms * 1000) + receives
       3 state     HASH  stamp -> N/first_ms/available_us[/B] (lib/fifo.lua)
ALSO   available wakeups group:NAME delayed postponed paused moved timeline
ARGV   1 now_us  "" = the server's clock; "!" in front: strict, a receipt whose visibility timeout is over is refused
       2... key, group, receives per message, from the receipt handle; the key may have a mark (lib/timeline.lua)
RETURN {status ...}: 1 deleted, 0 was gone, -1 the receipt has expired
ERRORS QUEUE_NOT_FOUND
BOUND  2000 calls, 4 MiB
]]
local call = redis.call
local meta, inflight, states, now_us = KEYS[1], KEYS[2], KEYS[3], ARGV[1]
local base, is_strict = string.sub(meta, 1, -5), string.byte(now_us) == 33
if is_strict then -- else most deletes do not need it
  now_us = require("lib.clock")(string.sub(now_us, 2))
end
local delete_messages = require("lib.delete_messages_fifo")
local statuses, deleted, visible = delete_messages(base, inflight, states, now_us, is_strict, 2)
if visible then
  local wakeups = base .. "wakeups"
  if call("EXISTS", wakeups) == 0 then -- wake a waiter
    call("RPUSH", wakeups, "1")
  end
elseif deleted == 0 and call("EXISTS", meta) == 0 then
  return redis.error_reply("QUEUE_NOT_FOUND " .. meta)
end
return statuses
