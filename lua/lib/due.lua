-- When a message becomes visible.
local due = {}

-- The time (ms): "+ms" from now, "ms" or "@ms" at that time, "" after `delay_ms`. Late rather than early.
function due.time(text, delay_ms, now_us)
  local span = delay_ms
  if string.sub(text, 1, 1) == "+" then
    span = tonumber(text)
  elseif text ~= "" then
    return tonumber(string.match(text, "%d+$"))
  end
  return span > 0 and math.ceil(now_us / 1000) + span or math.floor(now_us / 1000)
end

-- Enter a message to a FIFO queue in the sets of delayed ones: it is delayed by itself, or ("") by the queue. Returns
-- its key in the group's list and when it is due (ms; nil = at once); or the error that the set is damaged.
function due.delay_fifo(base, stamp, group, text, queue_delay_ms, now_us)
  local member = stamp .. group
  local due_ms = due.time(text, queue_delay_ms, now_us)
  if due_ms * 1000 <= tonumber(now_us) then
    return stamp, nil
  end
  local key, added = stamp .. "q"
  if text == "" then
    added = redis.pcall("ZADD", base .. "postponed", string.format("%d", math.ceil(stamp / 1000)), member)
  else
    key = require("lib.fifo_key").with_due(stamp, due_ms)
    added = redis.pcall("ZADD", base .. "delayed", string.format("%d", due_ms), member)
  end
  if type(added) == "table" then
    return added
  end
  if redis.call("HSET", base .. "meta", "delays", "1") == 1 then
    require("lib.settings").mark(base)
  end
  return key, due_ms
end

return due
