--[[
The uncommon cases of one group in receive_message_fifo.lua: messages received before, delayed, expired, in flight
further on, or not to be kept. `r` is the state of the receive; it comes back with
  delivered    messages handed out of this group
  removed      messages taken out of the group (expired, dead letters, deleted at once)
  offer        the group may be available again
  missing_dlq  a dead-letter queue that has no shard here: nothing of it was touched
  steps        how many redis calls are left
]]
local born = require("lib.born")
local deadletter = require("lib.deadletter")
local fifo = require("lib.fifo")

return function(r, group, entries, members, stamps, histories, flights)
  local list, states = fifo.list(r.base, group), r.base .. "state"
  local oldest = tonumber(r.oldest)
  local index, dlq, dlq_read, stopped = 0, nil, false, false -- index: where the message is in the list now
  r.delivered, r.removed = 0, 0
  for i = 1, #stamps do
    if r.steps <= 0 and r.delivered + r.removed > 0 then -- enough for one call
      break
    end
    local key, record, stamp = entries[2 * i - 1], entries[2 * i], stamps[i]
    local n, first, b, receives = 0, r.now, 0, 0
    if histories[i] then
      local n_, first_, _, b_ = fifo.parse(histories[i])
      n, b, receives = n_, b_, n_ - b_
      first = receives > 0 and first_ or r.now
    end
    r.steps = r.steps - (#key > 16 and 1 or 0)
    if flights[i] or (#key > 16 and born.is_delayed(r.base, key, members[i])) then
      stopped = true
      break
    end
    local over = false
    if receives > 0 then
      if not dlq_read then
        dlq, dlq_read, r.steps = deadletter.policy(r.meta), true, r.steps - 2
      end
      over = dlq and receives >= dlq.max_receives
    end
    if born.born_ms(key) < oldest then
      fifo.remove_at(list, index)
      redis.call("HDEL", states, stamp)
      r.removed, r.steps = r.removed + 1, r.steps - 2
    elseif over and not dlq.missing then
      fifo.remove_at(list, index)
      redis.call("HDEL", states, stamp)
      deadletter.push_fifo(r.meta, dlq, group, {key = key, first = first, receives = receives, record = record}, r.now_us)
      r.removed, r.steps = r.removed + 1, r.steps - 11
    elseif over and not dlq.suspended(r.now_ms) then
      stopped = true
      if r.delivered == 0 then
        r.missing_dlq = dlq.name
      end
      break
    else
      local at = #r.reply
      r.reply[at + 1], r.reply[at + 2], r.reply[at + 4] = key, group, record
      r.reply[at + 3] = fifo.state(n + 1, first, r.now, b)
      if r.settle then
        fifo.remove_at(list, index)
        redis.call("HDEL", states, stamp)
        r.removed, r.steps = r.removed + 1, r.steps - 2
      else
        r.seen[#r.seen + 1] = stamp
        r.seen[#r.seen + 1] = fifo.state(n + 1, first, r.now_us, b)
        if r.visibility > 0 then
          r.scores[#r.scores + 1] = string.format("%.0f%03d", r.deadline, math.min(n + 1, 999))
          r.scores[#r.scores + 1] = members[i]
        end
        index = index + 1
      end
      r.delivered = r.delivered + 1
    end
  end
  r.offer = not r.missing_dlq and (index == 0 or r.visibility == 0) and (r.delivered > 0 or r.removed > 0 or not stopped)
  return r
end
