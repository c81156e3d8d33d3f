--[[
Wakes waiters without polling, for each partition by itself. Waiters block (BLPOP) on lists of wakeup tokens:
  wakeups    at most one token: a message is visible, or a due time has no timer. Every waiter blocks on it.
  backup     a token for each backup that is missing. Waiters without a duty block on it.
  wake:NAME  a token for one waiter that has a duty: another due time than the one it knows counts now.
A waiter that takes a token receives. `timer` is a STRING `due_ms:owner:backup:backup...`, owner = "-" if it left:
  owner      wakes a waiter when the earliest invisible message becomes due, and looks itself LAST_LOOK_MS later.
  backup     looks itself a while after the due time, in case the owner died: the first one FIRST_LOOK_MS later.
"Looks" means receives: that ends the duty, and a waiter without a duty blocks on `backup` again.

A waiter is named PROCESS-NUMBER. As a process dies with all its waiters, only backups in other processes than the
owner's count; BACKUPS of them are wanted. A waiter that took a backup token although its process has a duty becomes one
more backup, so that it does not take the token again and again.

What holds while a waiter is blocked:
  1. A message is visible: a token is in `wakeups`, or a waiter that took one is about to receive.
  2. There is a due time: the timer is not later, or a token is in `wakeups`, or a waiter that took it is about to
     receive. A waiter that takes a token sees to that itself, or puts it back.
  3. A due time has a timer: every blocked waiter has a duty for it, or BACKUPS others have, or a token is in a list on
     which it is blocked, or waiters that took one are about to receive. So any of them may die.
  4. A duty that is given up (the wait is over, there are messages, it is cancelled) is asked for again at once.
A waiter of one partition sends BLPOP and receive together, and the server runs both even if the waiter has died
meanwhile. Between the two a waiter of several partitions can die with the token it took. For a new due time there is a
second token, so that another process looks at it all the same; a visible message waits for the next token, or until
a waiter looks again after a minute.

`delay_ms` is the DelaySeconds of a FIFO queue, in ms; nil = a standard queue. It says which ZSETs have due times.
]]
local wakeups = {}

local BACKUPS = 2
local FIRST_LOOK_MS, NEXT_LOOK_MS, LAST_LOOK_MS = 300, 200, 700
local MOST_NAMES = 8 -- backups with a name; further ones look, but cannot be told of an earlier due time
local LONGEST_BLOCK_MS = 60000 -- every waiter looks again after that time (flows/receive.py)
local KEPT_MS = 2000
local NOBODY = "-"

local function ms(number)
  return string.format("%d", number)
end

-- Wake one waiter, unless a token is out already.
function wakeups.wake(base)
  local list = base .. "wakeups"
  if redis.call("EXISTS", list) == 0 then
    redis.call("RPUSH", list, "1")
  end
end

local function process_of(name)
  return string.match(name, "^[^-]*")
end

-- Append to a list of tokens, which is no list if it is damaged.
local function put_out(list, ...)
  if type(redis.pcall("RPUSH", list, ...)) ~= "number" then
    redis.call("DEL", list)
    redis.call("RPUSH", list, ...)
  end
end

-- The timer {due =, owner =, backups = {name ...}}, or nil.
local function read(base)
  local value = redis.pcall("GET", base .. "timer")
  if type(value) ~= "string" then -- there is none, or it is damaged
    return nil
  end
  local due, owner, names = string.match(value, "^([^:]+):?([^:]*)(.*)$")
  local timer = {due = tonumber(due), owner = owner ~= "" and owner or NOBODY, backups = {}}
  for name in string.gmatch(names, "[^:]+") do
    timer.backups[#timer.backups + 1] = name
  end
  return timer
end

local function write(base, timer, ...)
  local names = {ms(timer.due), timer.owner, unpack(timer.backups)}
  redis.call("SET", base .. "timer", table.concat(names, ":"), ...)
end

-- Take a waiter's name out. Returns "owner", "backup" or nil.
local function remove(timer, waiter)
  if timer.owner == waiter then
    timer.owner = NOBODY
    return "owner"
  end
  for i, name in ipairs(timer.backups) do
    if name == waiter then
      table.remove(timer.backups, i)
      return "backup"
    end
  end
  return nil
end

-- The number of backups that are missing, and whether the process of a waiter has a duty.
local function missing(timer, waiter)
  local found = 0
  local seen = {[process_of(timer.owner)] = true}
  for _, name in ipairs(timer.backups) do
    local process = process_of(name)
    if not seen[process] then
      seen[process], found = true, found + 1
    end
  end
  return BACKUPS - found, seen[process_of(waiter)]
end

-- Put out a token for each backup that is missing; they end a second after the due time, `timer` KEPT_MS after it.
local function ask_for_backups(base, timer, if_ahead)
  local lacking, list = missing(timer, NOBODY), base .. "backup"
  if lacking <= 0 then
    redis.call("DEL", list)
    return
  end
  local out = redis.pcall("LLEN", list)
  out = type(out) == "number" and out or 0
  if out < lacking then
    local left = redis.call("PTTL", base .. "timer") - KEPT_MS
    if left > 0 or not if_ahead then
      put_out(list, unpack({"1", "1"}, out + 1, lacking))
      redis.call("PEXPIRE", list, ms(math.max(left, 0) + 1000))
    end
  end
end

-- The due time of a timer does not count any more: tell the waiters that have a duty.
local function revoke(base, timer, except)
  for _, name in ipairs({timer.owner, unpack(timer.backups)}) do
    if name ~= except and name ~= NOBODY then
      local list = base .. "wake:" .. name
      put_out(list, "1")
      redis.call("PEXPIRE", list, ms(LONGEST_BLOCK_MS + 1000))
    end
  end
end

-- Due times have changed: the timer is void.
function wakeups.reset(base)
  local timer = read(base)
  if timer then
    revoke(base, timer)
    redis.call("DEL", base .. "timer")
  end
  wakeups.wake(base)
end

-- A message will become visible at due_ms: wake a waiter if there is no timer that early. One more is woken, and all
-- who have a duty, in case the first one dies before it receives.
function wakeups.wake_for(base, now_ms, due_ms)
  local timer, backup = read(base), base .. "backup"
  if timer and timer.due > now_ms then
    if timer.due <= due_ms and timer.owner ~= NOBODY then
      return
    end
    wakeups.reset(base)
  elseif redis.call("EXISTS", base .. "wakeups", backup) == 2 then
    return
  else
    wakeups.wake(base)
  end
  if redis.call("EXISTS", backup) == 0 then
    redis.call("RPUSH", backup, "1")
    redis.call("PEXPIRE", backup, ms(math.max(due_ms - now_ms, 0) + 1000))
  end
end

-- Find a duty for a waiter, if it shall have one. Returns what it has to do as block() does, and whether that is new.
local function join(timer, waiter, has_waited)
  if timer.owner == waiter then
    return {timer.due, timer.due + LAST_LOOK_MS}, false
  elseif timer.owner == NOBODY then
    remove(timer, waiter)
    timer.owner = waiter
    return {timer.due, timer.due + LAST_LOOK_MS}, true
  end
  for i, name in ipairs(timer.backups) do
    if name == waiter then
      return {0, timer.due + math.min(FIRST_LOOK_MS + NEXT_LOOK_MS * (i - 1), LAST_LOOK_MS)}, false
    end
  end
  local lacking, is_known = missing(timer, waiter)
  if lacking <= 0 or is_known and not has_waited then
    return 0, false
  elseif #timer.backups >= MOST_NAMES then
    return {0, timer.due + LAST_LOOK_MS}, false
  end
  timer.backups[#timer.backups + 1] = waiter
  return {0, timer.due + math.min(FIRST_LOOK_MS + NEXT_LOOK_MS * (#timer.backups - 1), LAST_LOOK_MS)}, true
end

-- An empty receive is about to block: take the token away and see to the next due time (ms or nil). Returns 0, or
-- {wake_at_ms, look_at_ms} if the caller has a duty: as the owner it comes to wakeups.watch() first; 0: it is a backup.
local function block(base, now_ms, next_due, waiter, has_waited)
  redis.call("DEL", base .. "wakeups", base .. "wake:" .. waiter)
  local timer = read(base)
  if timer and timer.due <= now_ms then
    timer = nil
  end
  if next_due and (not timer or next_due < timer.due) then
    if timer then
      revoke(base, timer, waiter)
    end
    timer = {due = math.max(next_due, now_ms + 1), owner = NOBODY, backups = {}}
  elseif not timer then
    return 0
  end
  local duty, is_new = join(timer, waiter, has_waited)
  if is_new then
    write(base, timer, "PX", ms(timer.due - now_ms + KEPT_MS))
  end
  ask_for_backups(base, timer)
  return duty
end

-- The time has come for the owner to wake a waiter. Returns in how many ms it comes again, or 0.
function wakeups.watch(base, now_ms, waiter)
  local timer = read(base)
  if timer and timer.due > now_ms then
    return timer.owner == waiter and timer.due - now_ms or 0
  end
  wakeups.wake(base)
  return 0
end

-- A waiter goes away, or has got messages: if it had a duty, another one takes it over. It may have taken a token for a
-- backup, which then is put out again.
function wakeups.leave(base, waiter)
  local timer = read(base)
  if not timer then
    return
  end
  local duty = remove(timer, waiter)
  if duty == "owner" then
    wakeups.wake(base)
    if #timer.backups == 0 then
      redis.call("DEL", base .. "timer")
      return
    end
  end
  if duty then
    write(base, timer, "KEEPTTL")
  end
  ask_for_backups(base, timer, true)
end

-- Has a receive waited before? Only then it may have a duty, and may have taken a token. `wait` as in receive_message.
function wakeups.has_waited(wait)
  return string.find(wait, "^%d") ~= nil
end

-- Until when (ms) a receive waits.
function wakeups.wait_until(base, wait, now_ms)
  wait = string.match(wait, "^[^/]*")
  if wait == "" then
    return now_ms
  elseif wait == "?" then
    return now_ms + tonumber(redis.call("HGET", base .. "meta", "ReceiveMessageWaitTimeSeconds") or "0") * 1000
  elseif string.sub(wait, 1, 1) == "+" then
    return now_ms + tonumber(string.sub(wait, 2))
  end
  return tonumber(wait)
end

-- The earliest due time (ms), or nil.
function wakeups.next_due(base, delay_ms)
  local sets = {{"inflight", 1000, 0}, {"delayed", 1000, 0}} -- due_ms = score / scale + offset
  if delay_ms then
    sets = {{"inflight", 1000, 0}, {"delayed", 1, 0}, {"postponed", 1, delay_ms}}
  end
  local next_due
  for _, set in ipairs(sets) do
    local name, scale, offset = unpack(set)
    local first = redis.call("ZRANGE", base .. name, "0", "0", "WITHSCORES")
    if first[1] then
      local due = math.floor(tonumber(first[2]) / scale) + offset
      if not next_due or due < next_due then
        next_due = due
      end
    end
  end
  return next_due
end

-- Is there perhaps a due time, passed or ahead, that has no timer?
function wakeups.lacks_timer(base, now_ms, delay_ms)
  local timer = read(base)
  if not timer or timer.due <= now_ms or timer.owner == NOBODY then
    return true
  end
  return (wakeups.next_due(base, delay_ms) or timer.due) < timer.due
end

-- An empty receive waits on or leaves. Returns what block() returns, and wait_until_ms.
local function wait_on(base, wait, now_ms, next_due, waiter)
  local wait_until, has_waited = wakeups.wait_until(base, wait, now_ms), wakeups.has_waited(wait)
  if wait_until > now_ms then
    return block(base, now_ms, next_due, waiter, has_waited), wait_until
  end
  if has_waited then
    wakeups.leave(base, waiter)
    if next_due then
      wakeups.wake_for(base, now_ms, next_due)
    end
  end
  return 0, wait_until
end

-- A receive is not allowed to take messages, as too many are in flight: it leaves tokens to others. Returns
-- wait_until_ms.
local function step_aside(base, wait, now_ms, delay_ms, waiter)
  if wakeups.has_waited(wait) then
    wakeups.leave(base, waiter)
    if redis.call("EXISTS", base .. "ready", base .. "fair_ring", base .. "available") > 0
      or wakeups.next_due(base, delay_ms) and wakeups.lacks_timer(base, now_ms, delay_ms) then
      wakeups.wake(base)
    end
  end
  return wakeups.wait_until(base, wait, now_ms)
end

--[[
The answer of a receive that hands nothing out, of either kind of queue. `wait` and `waiter` are those of the caller.
Why:
  nil        there is nothing: the caller waits on, or leaves
  "paused"   the same, whatever becomes due
  "again"    visible messages may be left: it comes again at once
  "limited"  too many are in flight: it looks again after a while, and leaves the tokens to those who can take messages
If the waiting is over, that was an empty receive, and counts as one; unless "/-" stands behind `wait`, since the caller
looks elsewhere or goes on to wait: then it counts itself, if it must (count_empty_receives.lua). A call that is
repeated counts no more: its first attempt has.
]]
function wakeups.nothing_received(base, topology, now_ms, wait, waiter, delay_ms, why, missing_dlq)
  local wake_at, wait_until
  local bare = string.match(wait, "^[^/]*")
  local is_last, is_repeated = bare == wait, #ARGV[1] > 8 -- lib/idempotency.lua
  wait = bare
  if why == "limited" then
    wake_at, wait_until = -1, step_aside(base, wait, now_ms, delay_ms, waiter)
  elseif why == "again" then
    wake_at, wait_until = now_ms, wakeups.wait_until(base, wait, now_ms)
  else
    local next_due = wait ~= "" and why ~= "paused" and wakeups.next_due(base, delay_ms) or nil
    wake_at, wait_until = wait_on(base, wait, now_ms, next_due, waiter)
  end
  if is_last and not is_repeated and wait_until <= now_ms and why ~= "again" and (missing_dlq or "") == "" then
    redis.pcall("HINCRBY", base .. "stats", "empty", "1")
  end
  return {now_ms, topology, wake_at, wait_until, missing_dlq or "", {}}
end

return wakeups
