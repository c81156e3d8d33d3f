--[[
Read the message move tasks of a queue (ListMessageMoveTasks).

KEYS   1 meta   HASH  attributes of the dead-letter queue
       2 tasks  HASH  task id -> JSON
ARGV   1 now_us  "" = the server's clock
RETURN {now_ms, task_id, json, ...}
ERRORS QUEUE_NOT_FOUND
BOUND  20 calls, 64 KiB
]]

if redis.call("HEXISTS", KEYS[1], "VisibilityTimeout") == 0 then
  return redis.error_reply("QUEUE_NOT_FOUND " .. KEYS[1])
end
return {tonumber(string.sub(require("lib.clock")(ARGV[1]), 1, 13)), unpack(redis.call("HGETALL", KEYS[2]))}
