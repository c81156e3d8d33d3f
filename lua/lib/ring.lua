--[[
Fair queues: message groups of a standard queue take turns (start-time fair queueing).

`ring` is a ZSET of groups that have ready messages, scored by virtual time: the messages handed out so far. The group
with the smallest score is served next and moves on by what it got; a group that comes in starts at the smallest score,
so a newcomer never waits behind the backlog of another. The group "" stands for the messages without one, whose list
is `ready`. A queue that never saw a message group has no ring and pays nothing.
]]
local ring = {}

-- Where the ready messages of a group are.
function ring.list(base, ready, group)
  if group == "" then
    return ready
  end
  return base .. "group:" .. group
end

local function enter(base, groups, group)
  if redis.call("SISMEMBER", base .. "paused", group) == 1 then
    return
  end
  local first = redis.call("ZRANGE", groups, "0", "0", "WITHSCORES")
  redis.call("ZADD", groups, "NX", first[2] or "0", group)
end

-- The first message group of a queue's life: from now on its receives go round the ring.
function ring.open(meta, groups, ready)
  redis.call("HSET", meta, "fair", "1")
  require("lib.settings").mark(meta)
  if redis.call("EXISTS", ready) == 1 then
    redis.call("ZADD", groups, "0", "")
  end
end

-- Append a message to its group's list.
function ring.push(base, groups, ready, group, key, record)
  if redis.call("RPUSH", ring.list(base, ready, group), key, record) == 2 then
    enter(base, groups, group)
  end
end

-- A group that was paused takes part again.
function ring.resume(base, groups, ready, group)
  if redis.call("EXISTS", ring.list(base, ready, group)) == 1 then
    enter(base, groups, group)
  end
end

-- Take up to n messages: a flat array key, record, key, record ... and how many of them had a group.
function ring.take(base, groups, ready, n)
  local taken, grouped = {}, 0
  local quantum = math.ceil(n / 4)
  while #taken < 2 * n do
    local first = redis.call("ZRANGE", groups, "0", "1", "WITHSCORES")
    if #first == 0 then
      break
    end
    local group, list = first[1], ring.list(base, ready, first[1])
    local want = n - #taken / 2
    if #first > 2 and want > quantum then
      want = quantum
    end
    local got = redis.call("LPOP", list, 2 * want) or {}
    for i = 1, #got do
      taken[#taken + 1] = got[i]
    end
    if group ~= "" then
      grouped = grouped + #got / 2
    end
    if #got < 2 * want or redis.call("EXISTS", list) == 0 then
      redis.call("ZREM", groups, group)
    else
      redis.call("ZADD", groups, string.format("%.0f", tonumber(first[2]) + #got / 2), group)
    end
  end
  return taken, grouped
end

return ring
