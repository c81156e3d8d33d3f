-- What deleting and purging have in common for both kinds of queue. KEYS and ARGV are those of delete_queue.lua.
local removal = {}

-- Checks and marks of the first step. Returns an error reply or nil, and created_us.
function removal.begin(keys, argv, now_us)
  local meta = keys[1]
  local purge, first = argv[2] == "1", argv[5] == "1"
  if first then
    if redis.call("TYPE", meta).ok ~= "hash" and redis.call("DEL", meta) == 1 then -- damaged: nothing is left of it
      redis.call("HSET", meta, "created_us", now_us)
    end
    require("lib.damaged").clear(string.sub(meta, 1, -5))
  end
  local state = redis.call("HMGET", meta, "created_us", "deleting", "purged_us", "last")
  if redis.call("EXISTS", meta) == 0 or (purge and state[2]) then
    return redis.error_reply("QUEUE_NOT_FOUND " .. meta), nil
  end
  if first and purge then
    if tonumber(argv[4]) > 0 and state[3] and tonumber(state[3])
      and tonumber(now_us) - tonumber(state[3]) < tonumber(argv[4]) * 1000 then
      return redis.error_reply("PURGE_QUEUE_IN_PROGRESS " .. meta), nil
    end
    local last = state[4] and state[4] > now_us and state[4] or now_us -- stamps may run ahead
    redis.call("HSET", meta, "purged_us", last)
    if string.sub(meta, -10) == ".fifo:meta" then
      redis.call("HSET", meta, "last", last) -- what is sent from now on is later than the purge
    end
  elseif first then
    redis.call("HSET", meta, "deleting", "1")
    redis.call("HDEL", meta, "VisibilityTimeout", "MaximumMessageSize", "MessageRetentionPeriod", "plain")
    require("lib.wakeups").wake(string.sub(meta, 1, -5)) -- a waiter finds the queue gone and tells the next one
  end
  return nil, state[1] and string.match(state[1], "^%d+$") or now_us
end

-- Remove the lists of message groups, a thousand at most; `field` of meta counts the messages in them.
function removal.unlink_groups(meta, groups, field)
  if #groups == 0 then
    return
  end
  local base, lists, messages = string.sub(meta, 1, -5), {}, 0
  for i = 1, #groups do
    lists[i] = base .. "group:" .. groups[i]
    messages = messages + redis.call("LLEN", lists[i]) / 2
    lists[#groups + i] = base .. "again:" .. groups[i]
  end
  redis.call("UNLINK", unpack(lists))
  if messages > 0 then
    redis.call("HINCRBY", meta, field, -messages)
  end
end

-- The same for paused groups, some of them. A purge leaves them paused and goes through them by the cursor of SSCAN.
-- Returns the next one, or nil at the end.
function removal.unlink_paused(keys, argv, field)
  local meta, paused = keys[1], keys[9]
  if argv[2] ~= "1" then
    local names = redis.call("SPOP", paused, "500")
    removal.unlink_groups(meta, names, field)
    return #names == 500 and "0" or nil
  end
  local page = redis.call("SSCAN", paused, argv[6], "COUNT", "500")
  removal.unlink_groups(meta, page[2], field)
  return page[1] ~= "0" and page[1] or nil
end

-- The last step. Returns batch id and destination of a hand-over that was not finished, if there is one: the
-- destination has to forget it.
function removal.finish(keys, argv)
  local meta = keys[1]
  local base = string.sub(meta, 1, -5)
  redis.call("UNLINK", base .. "moved")
  if argv[2] == "1" then
    return
  end
  local handover = redis.call("LRANGE", base .. "outbox", "0", "1")
  redis.call("UNLINK", base .. "outbox", base .. "handovers")
  redis.call("UNLINK", base .. "heartbeats", base .. "consumers", base .. "commands")
  redis.call("UNLINK", keys[7], base .. "backup")
  redis.call("UNLINK", meta, base .. "tags", base .. "shards", base .. "sources", base .. "tasks")
  if redis.call("PTTL", keys[6]) == -1 then -- nobody took it; one that ends by itself is for the next waiter
    redis.call("UNLINK", keys[6])
  end
  local keep = tonumber(argv[3])
  if keep > 0 then
    redis.call("SET", base .. "deleted", require("lib.clock")(argv[1]), "PX", string.format("%.0f", keep))
  end
  return unpack(handover)
end

return removal
