--[[
Start a message move task (StartMessageMoveTask). The last ten finished tasks of a queue are kept.

KEYS   1 meta     HASH  attributes of the dead-letter queue
       2 sources  SET   queues whose redrive policy names it
       3 tasks    HASH  task id -> JSON
       4 chosen   HASH  message id -> "=GROUP", or "" = its group is not known: those that it has still to move
ARGV   1 now_us           "" = the server's clock
       2 task_id
       3 destination      "" = each message's own source
       4 max_per_second   "" = no limit
       5 to_move          visible messages at the start, or the number of chosen ones
       6 silence_ms       how long the caller may be silent before another takes the task over
       7 cause            "" = of all causes; "=CAUSE" = messages of this one
       8 dead_letter_source "" = from all queues; "=QUEUE" = messages from this one
       9... chosen messages, in pairs: message id, "=GROUP" or ""
RETURN 1
ERRORS QUEUE_NOT_FOUND, MOVE_TASK_REFUSED
BOUND  30 calls, 1 MiB
]]
return require("lib.idempotency").run(function()

  local meta, sources, tasks, chosen = unpack(KEYS)
  if redis.call("HEXISTS", meta, "VisibilityTimeout") == 0 then
    return redis.error_reply("QUEUE_NOT_FOUND " .. meta)
  end
  if redis.call("EXISTS", sources) == 0 then
    return redis.error_reply("MOVE_TASK_REFUSED not_dead_letter_queue")
  end
  local _, now = require("lib.clock")(ARGV[1], true)
  local now_ms = tonumber(now)
  local all = redis.call("HGETALL", tasks)
  local ended = {}
  for i = 1, #all, 2 do
    local task = cjson.decode(all[i + 1])
    if task.status == "RUNNING" or task.status == "CANCELLING" then
      return redis.error_reply("MOVE_TASK_REFUSED already_running")
    end
    ended[#ended + 1] = {all[i], task.started}
  end
  table.sort(ended, function(a, b) return a[2] > b[2] end)
  for i = 10, #ended do
    redis.call("HDEL", tasks, ended[i][1])
  end
  redis.call("UNLINK", chosen)
  for first = 9, #ARGV, 1000 do
    redis.call("HSET", chosen, unpack(ARGV, first, math.min(first + 999, #ARGV)))
  end
  redis.call("HSET", tasks, ARGV[2], cjson.encode({
    status = "RUNNING",
    destination = ARGV[3],
    rate = ARGV[4],
    to_move = tonumber(ARGV[5]),
    moved = 0,
    started = now_ms,
    overdue_at = now_ms + tonumber(ARGV[6]),
    cause = ARGV[7],
    dead_letter_source = ARGV[8],
    is_chosen = #ARGV > 8,
    not_moved = {},
  }))
  return 1
end)
