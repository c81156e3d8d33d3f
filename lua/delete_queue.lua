#!lua flags=allow-oom
--[[
Delete one partition of a queue of either kind with everything in it, or empty it (DeleteQueue, PurgeQueue). Bounded
work: the caller repeats while it is told so; a partition being deleted does not exist for other calls from the first
step on. A purge removes all that was there when it began; what comes meanwhile may go or stay. Of a FIFO queue it also
forgets the deduplication ids.

KEYS   1 meta    HASH  queue attributes
       2 paused  SET   paused message groups
       3 wakeups LIST  wakeup token
ALSO   ready store group:NAME again:NAME fair_ring available inflight state delayed postponed moved timer backup outbox
       handovers tags shards sources tasks chosen heartbeats consumers commands deleted stats history history_last
       history_hours timeline timeline_callers
ARGV   1 now_us      "" = the server's clock
       2 purge       "1" = empty it only
       3 keep_ms     how long the name counts as deleted recently; 0 = not at all
       4 interval_ms refuse a purge within this time after the last one; 0 = never (first step only)
       5 first       "1" = first step; of a deletion it only marks the partition
       6 cursor      "0", then what the last step returned
RETURN {1 done | 0 repeat, created_us, cursor [, batch, destination]}; batch: of a hand-over to another slot that was
       not finished: the destination has to forget it
ERRORS QUEUE_NOT_FOUND, QUEUE_DAMAGED, PURGE_QUEUE_IN_PROGRESS
BOUND  2500 calls, 4 MiB
]]
return require("lib.idempotency").run(function()
  local fifo_key = require("lib.fifo_key")
  local damaged = require("lib.damaged")

  local meta, paused, wakeups = unpack(KEYS)
  local now_us, cursor = require("lib.clock")(ARGV[1]), ARGV[6]
  local is_purge, is_first, keep_ms, interval_ms = ARGV[2] == "1", ARGV[5] == "1", tonumber(ARGV[3]), tonumber(ARGV[4])
  local base, is_fifo = string.match(meta, ".*:"), string.find(meta, "%.fifo:meta$") ~= nil
  local counting, population = require("lib.counting"), require("lib.population")
  local purge = require("lib.purge")
  local LISTS = 500 -- of message groups in one step
  local PAGE = 200 -- paused groups in one step

  if is_first then
    if redis.call("TYPE", meta).ok ~= "hash" and redis.call("DEL", meta) == 1 then -- damaged: nothing is left of it
      redis.call("HSET", meta, "created_us", now_us)
    end
    damaged.clear(base)
    redis.call("SPOP", paused, "0") -- changes nothing: whose ACL does not allow it is refused here, not in the middle
  end
  local created_us, deleting, purged_us, last =
    unpack(redis.call("HMGET", meta, "created_us", "deleting", "purged_us", "last"))
  if redis.call("EXISTS", meta) == 0 or (is_purge and deleting) then
    return redis.error_reply("QUEUE_NOT_FOUND " .. meta)
  end
  created_us = created_us and string.match(created_us, "^%d+$") or now_us
  if is_first and is_purge then
    local since_us = tonumber(purged_us)
    if interval_ms > 0 and since_us and tonumber(now_us) - since_us < interval_ms * 1000 then
      return redis.error_reply("PURGE_QUEUE_IN_PROGRESS " .. meta)
    end
    local latest = last and last > now_us and last or now_us -- stamps may run ahead
    redis.call("HSET", meta, "purged_us", latest)
    if is_fifo then
      redis.call("HSET", meta, "last", latest) -- what is sent from now on is later than the purge
    end
    require("lib.timeline").add(base, "p", "purged")
    require("lib.timeline").write(math.floor(now_us / 1000))
  elseif is_first then
    redis.call("HSET", meta, "deleting", "1")
    redis.call("HDEL", meta, "VisibilityTimeout", "MaximumMessageSize", "MessageRetentionPeriod", "plain",
      "sends", "quick")
    require("lib.wakeups").wake(base) -- a waiter finds the queue gone and tells the next one
    return {0, created_us, "0"} -- what belongs to it elsewhere goes first
  end

  local function unlink(names)
    local keys = {}
    for name in string.gmatch(names, "%S+") do
      keys[#keys + 1] = base .. name
    end
    redis.call("UNLINK", unpack(keys))
  end

  local unreceived, received, emptying
  if is_purge then
    unreceived, received = population(base, is_fifo)
    emptying = purge.begin(base, is_fifo)
  end

  -- The reply of a step. What it removed of a queue that goes on counts as purged. `is_all`: nothing is left.
  local function finished(is_done, following, is_all)
    if is_purge then
      purge.finish(emptying)
    end
    if is_all then
      unlink(is_fifo and "state" or "ready store inflight delayed")
      redis.call("HDEL", meta, is_fifo and "messages" or "grouped", "tombstones", "returned", "arrived")
    end
    if is_purge then
      local unreceived_left, received_left = population(base, is_fifo)
      counting.add(base, {purged_u = unreceived - unreceived_left, purged_r = received - received_left})
    end
    return {is_done, created_us, following}
  end

  -- Empty message groups. Returns how many, if it is enough for one step before the last of them.
  local seen = {} -- several messages of a FIFO group are in flight
  local function remove(groups)
    local lists = {}
    for i, group in ipairs(groups) do
      if not seen[group] and is_purge and not purge.group(emptying, group) then
        return i - 1
      end
      seen[group] = true
      lists[2 * i - 1], lists[2 * i] = base .. "group:" .. group, base .. "again:" .. group
    end
    if #lists > 0 and not is_purge then
      redis.call("UNLINK", unpack(lists))
    end
    return nil
  end

  -- A group with messages is in one of these, or paused.
  local left = LISTS
  for _, name in ipairs(is_fifo and {"available", "inflight", "delayed", "postponed"} or {"fair_ring"}) do
    local members, groups = redis.call("ZRANGE", base .. name, "0", left - 1), {}
    for i, member in ipairs(members) do
      groups[i] = (name == "available" or name == "fair_ring") and member or fifo_key.group(member)
    end
    local removed = remove(groups)
    if (removed or #members) > 0 then
      redis.call("ZREM", base .. name, unpack(members, 1, removed or #members))
    end
    left = left - #members
    if removed or left == 0 then
      return finished(0, cursor)
    end
  end

  -- A purge leaves groups paused and goes through them by the cursor of SSCAN. What comes to those that it has passed
  -- stays.
  local may_stay = is_purge and redis.call("EXISTS", paused) == 1
  if may_stay and not is_fifo
    and (remove({""}) or not purge.set(emptying, "inflight") or not purge.set(emptying, "delayed")) then
    return finished(0, cursor)
  elseif is_purge then
    local next_cursor, groups = unpack(redis.call("SSCAN", paused, cursor, "COUNT", PAGE))
    if remove(groups) then
      return finished(0, cursor)
    elseif next_cursor ~= "0" then
      return finished(0, next_cursor)
    end
  else
    local groups = redis.call("SPOP", paused, PAGE)
    remove(groups)
    if #groups == PAGE then
      return finished(0, "0")
    end
  end

  local reply = finished(1, "0", not may_stay)
  unlink("moved")
  local outdated = not may_stay and {"delays", "large", "unsorted", "emptied", "fair"} or is_fifo and {"delays"} or {}
  if outdated[1] and redis.call("HDEL", meta, unpack(outdated)) > 0 then -- sends and receives may be quick again
    require("lib.settings").mark(base)
  end
  if is_purge then
    return reply
  end
  local handover = redis.call("LRANGE", base .. "outbox", "0", "1")
  unlink("meta stats tags shards sources tasks chosen outbox handovers heartbeats consumers commands timer backup")
  unlink("history history_last history_hours timeline timeline_callers")
  if redis.call("PTTL", wakeups) == -1 then -- no waiter took the token; one that ends by itself is for the next waiter
    redis.call("UNLINK", wakeups)
  end
  if keep_ms > 0 then
    redis.call("SET", base .. "deleted", now_us, "PX", keep_ms)
  end
  reply[4], reply[5] = unpack(handover)
  return reply
end)
