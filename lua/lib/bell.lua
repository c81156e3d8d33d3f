--[[
Waking waiters without polling. `bell` is a LIST of at most one token on which waiters block (BLPOP); `keeper` is a
STRING "due_ms:waiter" that names the waiter who rings when the earliest invisible message becomes due. The others look
after it a while later, in case it died.
  1. A visible message and a blocked waiter: a token is out, or a woken waiter is about to receive.
  2. A due time ahead and a blocked waiter: a keeper guards a time not later, or a token is out. Who takes a token puts it
     out again unless it sees to that.
]]
local bell = {}

-- Wake one waiter, unless a token is out already.
function bell.ring(list)
  if redis.call("EXISTS", list) == 0 then
    redis.call("RPUSH", list, "1")
  end
end

-- The guarded due time in ms and who guards it; nil when nobody does or the time has passed.
function bell.guarded(keeper, now_ms)
  local value = redis.call("GET", keeper)
  if value then
    local due, who = string.match(value, "^(%d+):(.*)$")
    due = tonumber(due)
    if due > now_ms then
      return due, who
    end
  end
  return nil
end

-- A message will become visible at due_ms: wake a waiter if nobody guards a time that early.
function bell.ring_for(list, keeper, now_ms, due_ms)
  if redis.call("EXISTS", list) == 0 then
    local due = bell.guarded(keeper, now_ms)
    if not due or due > due_ms then
      redis.call("RPUSH", list, "1")
    end
  end
end

local DEPUTY_MS = 500 -- so much later others see whether the keeper has rung; its key stands for longer

-- An empty receive is about to block: take the token away and, if nobody guards next_due (ms or nil), guard it.
-- Returns when the caller has to come to bell.watch(), or 0.
function bell.block(list, keeper, now_ms, next_due, waiter)
  redis.call("DEL", list)
  if not next_due then
    return 0
  end
  local due, who = bell.guarded(keeper, now_ms)
  if due and due <= next_due and who ~= waiter then
    return due + DEPUTY_MS
  end
  local ahead = math.max(next_due - now_ms, 0)
  redis.call("SET", keeper, string.format("%.0f:%s", next_due, waiter), "PX", string.format("%.0f", ahead + 2000))
  return next_due
end

-- The time has come for the keeper to ring, or for another waiter to do it for a keeper that did not. Returns in how
-- many ms the caller comes again, or 0.
function bell.watch(list, keeper, now_ms, waiter)
  local value = redis.call("GET", keeper)
  if not value then
    return 0
  end
  local due, who = string.match(value, "^(%d+):(.*)$")
  if who == waiter or tonumber(due) <= now_ms then
    bell.ring(list)
    return 0
  end
  return tonumber(due) - now_ms + DEPUTY_MS
end

-- A waiter goes away: if it was the keeper, give the duty up and wake another one.
function bell.leave(list, keeper, waiter)
  local value = redis.call("GET", keeper)
  if value and string.match(value, ":(.*)$") == waiter then
    redis.call("DEL", keeper)
    bell.ring(list)
  end
end

-- Until when (ms) a receive waits: "" not at all, "?" as the queue says, "+ms" so long from now, "ms" an absolute time.
function bell.wait_until(meta, wait, now_ms)
  if wait == "" then
    return now_ms
  elseif wait == "?" then
    return now_ms + tonumber(redis.call("HGET", meta, "ReceiveMessageWaitTimeSeconds") or "0") * 1000
  elseif string.sub(wait, 1, 1) == "+" then
    return now_ms + tonumber(string.sub(wait, 2))
  end
  return tonumber(wait)
end

-- The earliest due time (ms), or nil. `timers` are {ZSET, scale, offset}: due = score / scale + offset.
function bell.next_due(timers)
  local next_due
  for _, timer in ipairs(timers) do
    local first = redis.call("ZRANGE", timer[1], "0", "0", "WITHSCORES")
    if first[1] then
      local due = math.floor(tonumber(first[2]) / timer[2]) + timer[3]
      if not next_due or due < next_due then
        next_due = due
      end
    end
  end
  return next_due
end

-- Is there perhaps a due time, passed or ahead, that nobody guards?
function bell.is_unguarded(keeper, now_ms, timers)
  local guarded = bell.guarded(keeper, now_ms)
  return not guarded or (bell.next_due(timers) or guarded) < guarded
end

-- The end of an empty receive: wait on or leave. Returns wake_at_ms and wait_until_ms.
function bell.rest(base, wait, now_ms, timers, waiter)
  local wait_until = bell.wait_until(base .. "meta", wait, now_ms)
  if wait_until > now_ms then
    return bell.block(base .. "bell", base .. "keeper", now_ms, bell.next_due(timers), waiter), wait_until
  end
  if waiter ~= "" then
    bell.leave(base .. "bell", base .. "keeper", waiter)
  end
  return 0, wait_until
end

return bell
