#!lua flags=allow-oom
--[[
A step of a message move task has been done, a task is taken over, is to be cancelled (CancelMessageMoveTask), or ends.

KEYS   1 tasks  HASH  task id -> JSON
ARGV   1 now_us    "" = the server's clock
       2 task_id
       3 verb      advance | adopt | cancel | complete | fail
       4 moved     messages moved since the last step
       5 silence_ms how long the caller may be silent
       6 reason    of the failure
RETURN {status, moved}; {"", 0} for adopt while another caller has the task
ERRORS RESOURCE_NOT_FOUND, MOVE_TASK_REFUSED
BOUND  20 calls, 64 KiB
]]
return require("lib.idempotency").run(function()

  local tasks, id, verb = KEYS[1], ARGV[2], ARGV[3]
  local json = redis.call("HGET", tasks, id)
  if not json then
    return redis.error_reply("RESOURCE_NOT_FOUND task")
  end
  local _, now = require("lib.clock")(ARGV[1], true)
  local now_ms = tonumber(now)
  local task = cjson.decode(json)
  local active = task.status == "RUNNING" or task.status == "CANCELLING"
  if verb == "cancel" then
    if task.status ~= "RUNNING" then
      return redis.error_reply("MOVE_TASK_REFUSED not_running")
    end
    task.status = "CANCELLING"
  elseif verb == "adopt" then
    if not active or task.overdue_at > now_ms then
      return {"", 0}
    end
  end
  if verb ~= "cancel" then
    task.overdue_at = now_ms + tonumber(ARGV[5])
  end
  task.moved = task.moved + tonumber(ARGV[4])
  if verb == "complete" and active then
    task.status = task.status == "CANCELLING" and "CANCELLED" or "COMPLETED"
  elseif verb == "fail" and active then
    task.status, task.reason = "FAILED", ARGV[6]
  end
  redis.call("HSET", tasks, id, cjson.encode(task))
  return {task.status, task.moved}
end)
