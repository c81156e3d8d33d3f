--[[
The uncommon cases of one group in receive_message_fifo.lua: messages received before, delayed, expired, in flight
further on, or not to be kept. `r` is the state of the receive; it comes back with
  delivered    messages handed out of this group
  removed      messages taken out of the group (expired, dead letters, deleted at once)
  steps        how many redis calls are left, about
  offer        the group may be available again
  missing_dlq  a dead-letter queue that has no shard here: nothing of it was touched
  dlq          the redrive policy, once it was needed
]]
local fifo_key = require("lib.fifo_key")
local deadletter = require("lib.deadletter")
local fifo = require("lib.fifo")

-- Messages leave the list: those at its head all at once, in the end.
local function leaving(list, states)
  local gone, cut, kept = {}, 0, 0
  local leave = {}

  function leave.keep()
    kept = kept + 1
  end

  -- Returns how many redis calls that takes now.
  function leave.remove(stamp)
    gone[#gone + 1] = stamp
    if kept == 0 then
      cut = cut + 1
      return 0
    end
    fifo.remove_at(list, cut + kept)
    return 3
  end

  function leave.finish()
    if cut > 0 then
      redis.call("LTRIM", list, 2 * cut, "-1")
    end
    if #gone > 0 then
      redis.call("HDEL", states, unpack(gone))
    end
    return #gone, kept
  end

  return leave
end

return function(r, group, entries, members, stamps, histories, flights)
  local oldest = tonumber(r.oldest)
  r.delivered, r.removed, r.offer, r.missing_dlq = 0, 0, false, nil
  if entries[1] and not flights[1] and fifo_key.enqueued_at_ms(entries[1]) < oldest then
    r.removed = require("lib.drop_expired_fifo")(r.base, group, oldest, math.max(1, math.min(r.steps, 1000)), true)
    r.steps = r.steps - r.removed - 6
    r.offer = r.removed > 0
    return r
  end
  local leave, stopped, letters = leaving(fifo.list(r.base, group), r.base .. "state"), false, {}
  for i = 1, #stamps do
    local key, record, stamp = entries[2 * i - 1], entries[2 * i], stamps[i]
    local n, first, b, receives = 0, r.now, 0, 0
    if histories[i] then
      local n_, first_, _, b_ = fifo.parse(histories[i])
      n, b, receives = n_, b_, n_ - b_
      first = receives > 0 and first_ or r.now
    end
    if r.steps <= 0 and i > 1 then -- enough for one call
      break
    end
    r.steps = r.steps - (#key > 16 and 1 or 0)
    if flights[i] or (#key > 16 and fifo_key.is_delayed(r.base, key, members[i])) then
      stopped = true
      break
    end
    local dlq, over = r.dlq, false
    if receives > 0 then
      if dlq == nil then
        dlq = deadletter.policy(r.meta) or false
        r.dlq, r.steps = dlq, r.steps - 2
      end
      over = dlq and receives >= dlq.max_receives
    end
    if fifo_key.enqueued_at_ms(key) < oldest then
      r.steps = r.steps - leave.remove(stamp)
    elseif over and not dlq.missing then
      r.steps = r.steps - leave.remove(stamp)
      letters[#letters + 1] = {key = key, first = first, receives = receives, record = record}
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
      if r.acks then
        leave.remove(stamp)
      else
        leave.keep()
        r.seen[#r.seen + 1] = stamp
        r.seen[#r.seen + 1] = fifo.state(n + 1, first, r.now_us, b)
        if r.visibility > 0 then
          r.scores[#r.scores + 1] = string.format("%.0f%03d", r.deadline, math.min(n + 1, 999))
          r.scores[#r.scores + 1] = members[i]
        end
      end
      r.delivered = r.delivered + 1
    end
  end
  local kept
  r.removed, kept = leave.finish()
  if #letters > 0 then
    deadletter.push_fifo(r.meta, r.dlq, group, letters, r.now_us)
  end
  r.offer = not r.missing_dlq and (kept == 0 or r.visibility == 0) and (r.delivered > 0 or r.removed > 0 or not stopped)
  r.steps = r.steps - (r.removed > 0 and 2 or 0) - (#letters > 0 and 11 or 0)
  return r
end
