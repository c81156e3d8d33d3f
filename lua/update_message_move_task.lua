#!lua flags=allow-oom
--[[
A step of a message move task has been done, a task is taken over, is to be cancelled (CancelMessageMoveTask), or ends.

KEYS   1 tasks   HASH  task id -> JSON
       2 chosen  HASH  message id -> group: those of the chosen ones that it has still to move
ARGV   1 now_us    "" = the server's clock
       2 task_id
       3 verb      advance | adopt | cancel | complete | fail
       4 moved     messages moved since the last step
       5 silence_ms how long the caller may be silent
       6 reason    of the failure; of advance: why the settled message was not moved
       7 settled   id of a chosen message that was moved, or cannot be; "" = none
RETURN {status, moved}; {"", 0} for adopt while another caller has the task
ERRORS RESOURCE_NOT_FOUND, MOVE_TASK_REFUSED
BOUND  20 calls, 64 KiB
]]
return require("lib.idempotency").run(function()

  local tasks, chosen, id, verb, reason = KEYS[1], KEYS[2], ARGV[2], ARGV[3], ARGV[6]
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
  local function count(why, number)
    if number > 0 then
      task.not_moved[why] = (task.not_moved[why] or 0) + number
    end
  end
  if ARGV[7] ~= "" then
    redis.call("HDEL", chosen, ARGV[7])
    count(reason, verb == "advance" and reason ~= "" and 1 or 0)
  end
  if task.is_chosen and active and (verb == "complete" or verb == "fail") then
    local left = task.to_move - task.moved
    for _, number in pairs(task.not_moved) do
      left = left - number
    end
    count(task.status == "CANCELLING" and "Cancelled" or "NotFound", left)
    redis.call("UNLINK", chosen)
  end
  if verb == "complete" and active then
    task.status = task.status == "CANCELLING" and "CANCELLED" or "COMPLETED"
  elseif verb == "fail" and active then
    task.status, task.reason = "FAILED", reason
  end
  redis.call("HSET", tasks, id, cjson.encode(task))
  return {task.status, task.moved}
end)
