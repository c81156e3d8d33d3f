--[[
One partition of a FIFO queue. A message stays in the LIST of its group until it is deleted; its key there is

  STAMP [q | +DUE] [/FIRST/TOTAL/MOVED/SOURCE]

STAMP: 16 digits, the microsecond of sending made strictly increasing: order, identity and sequence number. "q": sent
under the queue's DelaySeconds (which acts on delayed messages when it changes). DUE: its own due time (ms). After the
slash, for a dead letter: first receive (ms), receives so far, when it moved (ms) and from which queue.

  available  ZSET  group -> since when (us) its head can be received; all groups that can be served, and no other
  inflight   ZSET  STAMP GROUP -> visible again (ms * 1000) + receives of this stay
  state      HASH  STAMP -> "N/first_ms/available_us[/B]" of what was received before and not deleted. N never goes down:
                   it counts what the message went through, a receive once, its return unbegun once more, and so tells
                   receives apart in handles and scores. B is what of N is no receive, two for each return: N - B receives
                   count, and at none of them first_ms is 0
  delayed    ZSET  STAMP GROUP -> due (ms)
  postponed  ZSET  STAMP GROUP -> sent (ms, rounded up); due at + the queue's DelaySeconds

A group is locked while its head is in flight: it is not in `available` then.
]]
local offer = require("lib.offer")

local fifo = {}

-- What a state says: N, first_ms (string), available_us (string), B.
function fifo.parse(state)
  local n, first, since, b = string.match(state, "^(%d+)/(%d+)/(%d+)/?(%d*)$")
  return tonumber(n), first, since, b == "" and 0 or tonumber(b)
end

function fifo.state(n, first, since, b)
  return string.format(b > 0 and "%.0f/%s/%s/%.0f" or "%.0f/%s/%s", n, first, since, b)
end

-- What is shown of a message: receives and first receive (ms, string), of a state or nil.
function fifo.shown(state)
  if not state then
    return 0, "0"
  end
  local n, first, _, b = fifo.parse(state)
  return n - b, first
end

-- Since when (us, string) a message that no receive counts for can be received, by its key.
function fifo.since(key)
  return #key == 16 and key or string.format("%.0f", require("lib.born").born_ms(key) * 1000)
end

function fifo.list(base, group)
  return base .. "group:" .. group
end

-- Visibility of an in-flight message ends (at ms): remember its receives, let the group go on if it is the head.
function fifo.expire(base, member, at_ms)
  local stamp, group = string.sub(member, 1, 16), string.sub(member, 17)
  redis.call("ZREM", base .. "inflight", member)
  local state = redis.call("HGET", base .. "state", stamp)
  if state then -- no state: the message was deleted together with its group
    local n, first, _, b = fifo.parse(state)
    redis.call("HSET", base .. "state", stamp, fifo.state(n, first, string.format("%.0f", at_ms * 1000), b))
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
