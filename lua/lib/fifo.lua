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
local offer = require("lib.offer")

local fifo = {}

function fifo.list(base, group)
  return base .. "group:" .. group
end

-- Visibility of an in-flight message ends (at ms): remember its receives, let the group go on if it is the head.
function fifo.expire(base, member, at_ms)
  local stamp, group = string.sub(member, 1, 16), string.sub(member, 17)
  redis.call("ZREM", base .. "inflight", member)
  local state = redis.call("HGET", base .. "state", stamp)
  if state then -- no state: the message was deleted together with its group
    local receives, first = string.match(state, "^(%d+)/(%d+)")
    redis.call("HSET", base .. "state", stamp, receives .. "/" .. first .. "/" .. string.format("%.0f", at_ms * 1000))
    local key = redis.call("LINDEX", fifo.list(base, group), "0")
    if key and string.sub(key, 1, 16) == stamp then
      return offer(base, group)
    end
  end
  return false
end

-- End the visibility timeouts that are over, at most `limit` of them. Returns true if there may be more.
function fifo.expire_due(base, now, limit)
  local due = redis.call("ZRANGEBYSCORE", base .. "inflight", "-inf", now .. "999", "WITHSCORES", "LIMIT", "0", limit)
  for i = 1, #due, 2 do
    fifo.expire(base, due[i], math.floor(tonumber(due[i + 1]) / 1000))
  end
  return #due == 2 * limit
end

-- Take out of the delayed sets what is due, at most `limit` of each. Returns true if there may be more.
function fifo.promote_due(base, now_ms, queue_delay_ms, limit)
  local more = false
  for _, set in ipairs({{base .. "delayed", now_ms}, {base .. "postponed", now_ms - queue_delay_ms}}) do
    local due = redis.call("ZRANGEBYSCORE", set[1], "-inf", string.format("%.0f", set[2]), "LIMIT", "0", limit)
    if #due > 0 then
      redis.call("ZREM", set[1], unpack(due))
      for i = 1, #due do
        local stamp, group = string.sub(due[i], 1, 16), string.sub(due[i], 17)
        local key = redis.call("LINDEX", fifo.list(base, group), "0")
        if key and string.sub(key, 1, 16) == stamp then
          offer(base, group)
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

return fifo
