--[[
Fair queues: the message groups of a standard queue take turns.

`fair_ring` is a ZSET of the groups that have messages to hand out, in the order of their turns. A group that was served
goes to the end, and so does one that comes in: a group with a ready message is served after at most one turn of each
other group, whatever their names and however often they come and go. The group "" stands for the messages without one.
A queue that saw no message group since it was created or purged has no ring and pays nothing.

The messages of a group that were not received yet are in its list, those that became visible again, or were delayed, in
`again:GROUP`, a ZSET of members and scores as in `inflight`; the fields `returned` and `arrived` of meta count the two.
]]
local fair_ring = {}

-- Where the messages of a group are that were not received yet.
function fair_ring.list(base, group)
  return base .. (group == "" and "ready" or "group:" .. group)
end

function fair_ring.again(base, group)
  return base .. "again:" .. group
end

-- Put a group behind all others; only "XX" if it takes part, "NX" if it does not.
local function put_last(base, group, only)
  local last = redis.call("ZRANGE", base .. "fair_ring", "-1", "-1", "WITHSCORES")[2]
  redis.call("ZADD", base .. "fair_ring", only, string.format("%d", last and last + 1 or 0), group)
end

-- Its turn is over.
function fair_ring.to_end(base, group)
  put_last(base, group, "XX")
end

-- A group has something to hand out: it takes part from now on, unless it does already or is paused.
function fair_ring.enter(base, group)
  if redis.call("SISMEMBER", base .. "paused", group) == 0 then
    put_last(base, group, "NX")
  end
end

-- The first message group of a queue: from now on its receives go round the ring.
function fair_ring.open(base)
  if redis.call("EXISTS", base .. "ready") == 1 then -- before it is open: if a key has another type, it is not
    fair_ring.enter(base, "")
  end
  redis.call("HSET", base .. "meta", "fair", "1")
  require("lib.settings").mark(base)
end

-- Append a message to its group's list.
function fair_ring.push(base, group, key, record)
  local length = redis.call("RPUSH", fair_ring.list(base, group), key, record)
  if group ~= "" then
    redis.call("HINCRBY", base .. "meta", "grouped", 1)
  end
  if length == 2 then
    fair_ring.enter(base, group)
  end
end

-- Take back the last message of a group, if it is this one.
function fair_ring.take_back(base, group, key)
  local list = fair_ring.list(base, group)
  if redis.pcall("LINDEX", list, "-2") == key then
    redis.call("RPOP", list, "2")
    if group ~= "" then
      redis.pcall("HINCRBY", base .. "meta", "grouped", -1)
    end
  end
end

-- Append a message, if it may be the first one with a group of the queue.
function fair_ring.push_new(base, group, key, record)
  if redis.call("HEXISTS", base .. "meta", "fair") == 0 then
    fair_ring.open(base)
  end
  fair_ring.push(base, group, key, record)
end

-- A group that was paused takes part again.
function fair_ring.resume(base, group)
  if redis.call("EXISTS", fair_ring.list(base, group), fair_ring.again(base, group)) > 0 then
    fair_ring.enter(base, group)
  end
end

return fair_ring
