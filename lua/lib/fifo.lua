--[[
One partition of a FIFO queue. A message stays in the LIST of its group until it is deleted; its key there is

  STAMP [q | +DUE] [/FIRST/TOTAL/MOVED/SOURCE]

STAMP: 16 digits, the microsecond of sending made strictly increasing: order, identity and sequence number. "q": sent
under the queue's DelaySeconds (which acts on delayed messages when it changes). DUE: its own due time (ms). After the
slash, for a dead letter: first receive (ms), receives so far, when it moved (ms) and from which queue.

  available  ZSET  group -> since when (us) its head can be received; all groups that can be served, and no other
  inflight   ZSET  STAMP GROUP -> visible again (ms * 1000) + receives of this stay
  state      HASH  STAMP -> "receives/first_ms/available_us" of what was received before and not deleted
  delayed    ZSET  STAMP GROUP -> due (ms)
  postponed  ZSET  STAMP GROUP -> sent (ms); due at + the queue's DelaySeconds

A group is locked while its head is in flight: it is not in `available` then.
]]
local fifo = {}

function fifo.open(meta)
  local base = string.sub(meta, 1, -5)
  return {
    base = base,
    meta = meta,
    available = base .. "available",
    inflight = base .. "inflight",
    state = base .. "state",
    delayed = base .. "delayed",
    postponed = base .. "postponed",
    bell = base .. "bell",
    keeper = base .. "keeper",
  }
end

function fifo.list(q, group)
  return q.base .. "group:" .. group
end

-- The history of a dead letter from its key: first receive (ms, string), receives, moved (ms, string), source; nil if none.
function fifo.history(key)
  return string.match(key, "/(%d*)/(%d+)/(%d*)/(.*)$")
end

-- When its retention began, in ms: sending, the due time it was given, or (a dead letter) the move.
function fifo.born_ms(key)
  if #key == 16 then
    return tonumber(string.sub(key, 1, 13))
  end
  local due = string.match(key, "^%d+%+(%d+)")
  local _, _, moved = fifo.history(key)
  if moved and moved ~= "" then
    return tonumber(moved)
  end
  return tonumber(due or string.sub(key, 1, 13))
end

-- Is the message still delayed? (Promotion takes it out of both sets when it is due.)
local function is_delayed(q, key, member)
  local mark = string.sub(key, 17, 17)
  if mark == "+" then
    return redis.call("ZSCORE", q.delayed, member)
  elseif mark == "q" then
    return redis.call("ZSCORE", q.postponed, member)
  end
  return false
end
fifo.is_delayed = is_delayed

-- Look at the head of a group and make the group available if the head can be received. Returns true if so.
function fifo.offer(q, group)
  local key = redis.call("LINDEX", fifo.list(q, group), "0")
  if not key then
    return false
  end
  local stamp = string.sub(key, 1, 16)
  local member = stamp .. group
  if redis.call("ZSCORE", q.inflight, member) or (#key > 16 and is_delayed(q, key, member)) then
    return false
  end
  if q.paused_groups == nil then
    q.paused_groups = redis.call("HGET", q.meta, "paused_groups")
  end
  if q.paused_groups and redis.call("SISMEMBER", q.base .. "paused", group) == 1 then
    return false
  end
  local since = stamp
  local state = redis.call("HGET", q.state, stamp)
  if state then
    since = string.match(state, "/(%d+)$")
  elseif #key > 16 then
    since = string.format("%.0f", fifo.born_ms(key) * 1000)
  end
  redis.call("ZADD", q.available, since, group)
  return true
end

-- Visibility of an in-flight message ends (at ms): remember its receives, let the group go on if it is the head.
function fifo.expire(q, member, score, at_ms)
  local stamp, group = string.sub(member, 1, 16), string.sub(member, 17)
  redis.call("ZREM", q.inflight, member)
  local state = redis.call("HGET", q.state, stamp)
  if state then -- no state: the message was deleted together with its group
    local receives, first = string.match(state, "^(%d+)/(%d+)")
    redis.call("HSET", q.state, stamp, receives .. "/" .. first .. "/" .. string.format("%.0f", at_ms * 1000))
    local key = redis.call("LINDEX", fifo.list(q, group), "0")
    if key and string.sub(key, 1, 16) == stamp then
      return fifo.offer(q, group)
    end
  end
  return false
end

-- End the visibility timeouts that are over, at most `limit` of them. Returns true if there may be more.
function fifo.expire_due(q, now, limit)
  local due = redis.call("ZRANGEBYSCORE", q.inflight, "-inf", now .. "999", "WITHSCORES", "LIMIT", "0", limit)
  for i = 1, #due, 2 do
    fifo.expire(q, due[i], due[i + 1], math.floor(tonumber(due[i + 1]) / 1000))
  end
  return #due == 2 * limit
end

-- Take out of the delayed sets what is due, at most `limit` of each. Returns true if there may be more.
function fifo.promote_due(q, now_ms, queue_delay_ms, limit)
  local more = false
  for _, set in ipairs({{q.delayed, now_ms}, {q.postponed, now_ms - queue_delay_ms}}) do
    local due = redis.call("ZRANGEBYSCORE", set[1], "-inf", string.format("%.0f", set[2]), "LIMIT", "0", limit)
    if #due > 0 then
      redis.call("ZREM", set[1], unpack(due))
      for i = 1, #due do
        local stamp, group = string.sub(due[i], 1, 16), string.sub(due[i], 17)
        local key = redis.call("LINDEX", fifo.list(q, group), "0")
        if key and string.sub(key, 1, 16) == stamp then
          fifo.offer(q, group)
        end
      end
    end
    more = more or #due == limit
  end
  return more
end

-- Remove the message at index (0 = head) of a group's list.
function fifo.remove_at(list, index)
  if index == 0 then
    redis.call("LPOP", list, "2")
  else
    redis.call("LSET", list, 2 * index, "")
    redis.call("LSET", list, 2 * index + 1, "")
    redis.call("LREM", list, "2", "")
  end
end

-- The earliest time (ms) at which something becomes receivable by itself, or nil.
function fifo.next_due(q, queue_delay_ms)
  local next_due
  for _, set in ipairs({{q.inflight, 1000, 0}, {q.delayed, 1, 0}, {q.postponed, 1, queue_delay_ms}}) do
    local first = redis.call("ZRANGE", set[1], "0", "0", "WITHSCORES")
    if first[1] then
      local due = math.floor(tonumber(first[2]) / set[2]) + set[3]
      if not next_due or due < next_due then
        next_due = due
      end
    end
  end
  return next_due
end

return fifo
