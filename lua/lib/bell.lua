--[[
Waking waiters without polling, for each partition by itself. Waiters block (BLPOP) on lists of wakeup tokens:
  bell       at most one token: a message is visible, or a due time has no timer. Every waiter blocks on it.
  backup     a token for each backup that is missing. Those who have no duty block on it.
  wake:NAME  a token for one waiter that has a duty: another due time than the one it knows counts now.
Who takes a token receives. `keeper` is a STRING `due_ms:owner:backup:backup...`, owner = "-" if the owner left:
  owner      wakes somebody when the earliest invisible message becomes due, and looks itself LAST_LOOK_MS later.
  backup     looks itself a while after the due time, in case the owner died: the first one FIRST_LOOK_MS later.
"Looks" means receives: that ends the duty, and whoever has none blocks on `backup` again.

A waiter is named PROCESS-NUMBER. As a process dies with all its waiters, only backups in other processes than the
owner's count; BACKUPS of them are wanted. A waiter that took a backup token although its process has a duty becomes one
more backup, so that it does not take the token again and again.

What holds while somebody is blocked:
  1. A message is visible: a token is in `bell`, or a waiter that took one is about to receive.
  2. There is a due time: an owner guards a time not later, or a token is in `bell`, or the one who took it is about to
     receive. Whoever takes a token puts it back unless it sees to that.
  3. A due time is guarded: everybody who is blocked has a duty for it, or BACKUPS others have, or a token is in a list
     on which it is blocked, or those who took one are about to receive. So it matters to nobody who of them dies.
  4. A duty that is given up (the wait is over, there are messages, it is cancelled) is asked for again at once.
A waiter of one partition sends BLPOP and receive together, and the server runs both even if the waiter has died
meanwhile. Between the two a waiter of several partitions can die with the token it took. For a new due time there is a
second token, so that another process looks at it all the same; a visible message waits for the next token, or until
somebody looks again after a minute.
]]
local bell = {}

local BACKUPS = 2
local FIRST_LOOK_MS, NEXT_LOOK_MS, LAST_LOOK_MS = 300, 200, 700
local MOST_NAMES = 8 -- backups with a name; further ones look, but cannot be told of an earlier due time
local LONGEST_BLOCK_MS = 60000 -- every waiter looks again after that time (flows/receive.py)
local KEPT_MS = 2000
local NOBODY = "-"

-- Wake one waiter, unless a token is out already.
function bell.ring(list)
  if redis.call("EXISTS", list) == 0 then
    redis.call("RPUSH", list, "1")
  end
end

local function process_of(name)
  return string.match(name, "^[^-]*")
end

-- Who guards which due time, {due =, owner =, backups = {name ...}}, or nil.
local function read(keeper)
  local value = redis.call("GET", keeper)
  if not value then
    return nil
  end
  local guard
  for field in string.gmatch(value, "[^:]+") do
    if not guard then
      guard = {due = tonumber(field), owner = NOBODY, backups = {}, is_new = true}
    elseif guard.is_new then
      guard.owner, guard.is_new = field, false
    else
      guard.backups[#guard.backups + 1] = field
    end
  end
  return guard
end

local function text_of(guard)
  local names = #guard.backups > 0 and ":" .. table.concat(guard.backups, ":") or ""
  return string.format("%.0f:%s", guard.due, guard.owner) .. names
end

-- Take a waiter's name out. Returns "owner", "backup" or nil.
local function remove(guard, waiter)
  if guard.owner == waiter then
    guard.owner = NOBODY
    return "owner"
  end
  for i, name in ipairs(guard.backups) do
    if name == waiter then
      table.remove(guard.backups, i)
      return "backup"
    end
  end
  return nil
end

-- How many backups are missing, and whether the process of a waiter has a duty.
local function missing(guard, waiter)
  local found, own = 0, process_of(waiter)
  local seen = {[process_of(guard.owner)] = true}
  for _, name in ipairs(guard.backups) do
    local process = process_of(name)
    if not seen[process] then
      seen[process], found = true, found + 1
    end
  end
  return BACKUPS - found, seen[own]
end

-- Put out a token for each backup that is missing; they end a second after the due time, `keeper` KEPT_MS after it.
local function ask_for_backups(base, guard, if_ahead)
  local lacking, list = missing(guard, NOBODY), base .. "backup"
  if lacking <= 0 then
    redis.call("DEL", list)
    return
  end
  local out = redis.call("LLEN", list)
  if out < lacking then
    local left = redis.call("PTTL", base .. "keeper") - KEPT_MS
    if left > 0 or not if_ahead then
      redis.call("RPUSH", list, unpack({"1", "1"}, out + 1, lacking))
      redis.call("PEXPIRE", list, string.format("%.0f", math.max(left, 0) + 1000))
    end
  end
end

-- The due time of a guard does not count any more: tell those who have a duty.
local function revoke(base, guard, except)
  local names = {guard.owner, unpack(guard.backups)}
  for _, name in ipairs(names) do
    if name ~= except and name ~= NOBODY then
      local list = base .. "wake:" .. name
      redis.call("RPUSH", list, "1")
      redis.call("PEXPIRE", list, string.format("%.0f", LONGEST_BLOCK_MS + 1000))
    end
  end
end

-- The guarded due time in ms; nil when nobody guards one or it has passed.
function bell.guarded(keeper, now_ms)
  local guard = read(keeper)
  return guard and guard.due > now_ms and guard.owner ~= NOBODY and guard.due or nil
end

-- Due times have changed: what is guarded is not to be relied on.
function bell.reset(list, keeper)
  local guard = read(keeper)
  if guard then
    revoke(string.sub(list, 1, -5), guard)
    redis.call("DEL", keeper)
  end
  bell.ring(list)
end

-- A message will become visible at due_ms: wake a waiter if nobody guards a time that early. One more is woken, and all
-- who have a duty, in case the first one dies before it receives.
function bell.ring_for(list, keeper, now_ms, due_ms)
  local guard, backup = read(keeper), string.sub(list, 1, -5) .. "backup"
  if guard and guard.due > now_ms then
    if guard.due <= due_ms and guard.owner ~= NOBODY then
      return
    end
    bell.reset(list, keeper)
  elseif redis.call("EXISTS", list, backup) == 2 then
    return
  else
    bell.ring(list)
  end
  if redis.call("EXISTS", backup) == 0 then
    redis.call("RPUSH", backup, "1")
    redis.call("PEXPIRE", backup, string.format("%.0f", math.max(due_ms - now_ms, 0) + 1000))
  end
end

-- Find a duty for a waiter, if it shall have one. Returns what it has to do as block() does, and whether that is new.
local function join(guard, waiter, has_waited)
  if guard.owner == waiter then
    return {guard.due, guard.due + LAST_LOOK_MS}, false
  elseif guard.owner == NOBODY then
    remove(guard, waiter)
    guard.owner = waiter
    return {guard.due, guard.due + LAST_LOOK_MS}, true
  end
  for i, name in ipairs(guard.backups) do
    if name == waiter then
      return {0, guard.due + math.min(FIRST_LOOK_MS + NEXT_LOOK_MS * (i - 1), LAST_LOOK_MS)}, false
    end
  end
  local lacking, is_known = missing(guard, waiter)
  if lacking <= 0 or is_known and not has_waited then
    return 0, false
  elseif #guard.backups >= MOST_NAMES then
    return {0, guard.due + LAST_LOOK_MS}, false
  end
  guard.backups[#guard.backups + 1] = waiter
  return {0, guard.due + math.min(FIRST_LOOK_MS + NEXT_LOOK_MS * (#guard.backups - 1), LAST_LOOK_MS)}, true
end

-- An empty receive is about to block: take the token away and see to the next due time (ms or nil). Returns 0, or
-- {ring_at_ms, look_at_ms} if the caller has a duty: as the owner it comes to bell.watch() first; 0 = it is a backup.
local function block(base, now_ms, next_due, waiter, has_waited)
  local keeper = base .. "keeper"
  redis.call("DEL", base .. "bell", base .. "wake:" .. waiter)
  local guard = read(keeper)
  if guard and guard.due <= now_ms then
    guard = nil
  end
  local duty, is_new
  if next_due and (not guard or next_due < guard.due) then
    if guard then
      revoke(base, guard, waiter)
    end
    guard = {due = math.max(next_due, now_ms + 1), owner = NOBODY, backups = {}}
  elseif not guard then
    return 0
  end
  duty, is_new = join(guard, waiter, has_waited)
  if is_new then
    redis.call("SET", keeper, text_of(guard), "PX", string.format("%.0f", guard.due - now_ms + KEPT_MS))
  end
  ask_for_backups(base, guard)
  return duty
end

-- The time has come for the owner to wake somebody. Returns in how many ms it comes again, or 0.
function bell.watch(list, keeper, now_ms, waiter)
  local guard = read(keeper)
  if guard and guard.due > now_ms then
    return guard.owner == waiter and guard.due - now_ms or 0
  end
  bell.ring(list)
  return 0
end

-- A waiter goes away, or has got messages: if it had a duty, another one takes it over. It may have taken a token for a
-- backup, which then is put out again.
function bell.leave(list, keeper, waiter)
  local guard = read(keeper)
  if not guard then
    return
  end
  local duty = remove(guard, waiter)
  if duty == "owner" then
    bell.ring(list)
    if #guard.backups == 0 then
      redis.call("DEL", keeper)
      return
    end
  end
  if duty then
    redis.call("SET", keeper, text_of(guard), "KEEPTTL")
  end
  ask_for_backups(string.sub(list, 1, -5), guard, true)
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

-- The end of an empty receive: wait on or leave. Returns what block() returns, and wait_until_ms.
function bell.rest(base, wait, now_ms, timers, waiter)
  local wait_until = bell.wait_until(base .. "meta", wait, now_ms)
  local has_waited = string.find(wait, "^%d")
  if wait_until > now_ms then
    return block(base, now_ms, bell.next_due(timers), waiter, has_waited), wait_until
  end
  if has_waited then -- it may have a duty, and may have taken a token
    local list, keeper = base .. "bell", base .. "keeper"
    bell.leave(list, keeper, waiter)
    local next_due = bell.next_due(timers)
    if next_due then
      bell.ring_for(list, keeper, now_ms, next_due)
    end
  end
  return 0, wait_until
end

-- A receive is not allowed to take messages, as too many are in flight: it leaves tokens to others. Returns
-- wait_until_ms.
function bell.step_aside(base, wait, now_ms, timers, waiter)
  if string.find(wait, "^%d") then -- it may have a duty, and may have taken a token
    local list, keeper = base .. "bell", base .. "keeper"
    bell.leave(list, keeper, waiter)
    if redis.call("EXISTS", base .. "ready", base .. "ring", base .. "available") > 0
      or bell.next_due(timers) and bell.is_unguarded(keeper, now_ms, timers) then
      bell.ring(list)
    end
  end
  return bell.wait_until(base .. "meta", wait, now_ms)
end

return bell
