--[[
One group in receive_message_fifo.lua that is not common: messages received before, delayed, expired, dead letters, in
flight further on, or not to be kept. `r` is common to all groups of a call: results are appended to r.messages,
r.scores and r.new_states, and r.dlq keeps the redrive policy. The other arguments describe the group's messages from
the head on. Returns
  delivered    messages handed out of this group
  removed      messages taken out of the group (expired, dead letters, deleted at once)
  steps        how many redis calls are left, about
  is_unlocked  its next message can perhaps be received at once: no message of it is in flight
  missing_dlq  a dead-letter queue that has no shard here: nothing of the group was touched
]]
local deadletter = require("lib.deadletter")
local fifo_key = require("lib.fifo_key")
local score = require("lib.score")
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

  -- Returns how many left and how many did not.
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

-- Hand out a message in whose state n, first and b stand.
local function deliver(r, group, key, record, member, n, first, b)
  local at = #r.messages
  r.messages[at + 1], r.messages[at + 2], r.messages[at + 4] = key, group, record
  r.messages[at + 3] = fifo.state(n + 1, first, r.now, b)
  if not r.acks then
    r.new_states[#r.new_states + 1] = fifo_key.stamp(key)
    r.new_states[#r.new_states + 1] = fifo.state(n + 1, first, r.now_us, b)
    if r.visibility_ms > 0 then
      r.scores[#r.scores + 1] = score.of(r.visible_ms, n + 1)
      r.scores[#r.scores + 1] = member
    end
  end
end

return function(r, group, entries, members, stamps, old_states, flights, steps)
  if entries[1] and not flights[1] and fifo_key.enqueued_at_ms(entries[1]) < r.oldest_ms then
    local limit = math.max(1, math.min(steps, 1000))
    local removed = require("lib.drop_expired_fifo")(r.base, group, r.oldest_ms, limit, true)
    return {delivered = 0, removed = removed, steps = steps - removed - 6, is_unlocked = removed > 0}
  end
  local leave, letters = leaving(fifo.list(r.base, group), r.base .. "state"), {}
  local delivered, is_stopped, missing_dlq = 0, false, nil
  for i = 1, #stamps do
    local key, record, stamp = entries[2 * i - 1], entries[2 * i], stamps[i]
    local n, first, b, _ = 0, r.now, 0, nil
    if old_states[i] then
      local known_first
      n, known_first, _, b = fifo.parse(old_states[i])
      first = n > b and known_first or r.now
    end
    local receives = n - b
    if steps <= 0 and i > 1 then -- enough for one call
      break
    end
    if not fifo_key.is_plain(key) then
      steps = steps - 1
    end
    if flights[i] or fifo_key.is_delayed(r.base, key, members[i]) then
      is_stopped = true
      break
    end
    if receives > 0 and r.dlq == nil then
      r.dlq, steps = deadletter.policy(r.base) or false, steps - 2
    end
    local fate = deadletter.fate(r.dlq, receives, r.now_ms)
    if fifo_key.enqueued_at_ms(key) < r.oldest_ms then
      steps = steps - leave.remove(stamp)
    elseif fate == "dead-letter" then
      steps = steps - leave.remove(stamp)
      letters[#letters + 1] = {key = key, first = first, receives = receives, record = record}
    elseif fate == "wait" then
      is_stopped = true
      missing_dlq = delivered == 0 and r.dlq.name or nil
      break
    else
      deliver(r, group, key, record, members[i], n, first, b)
      delivered = delivered + 1
      if r.acks then
        leave.remove(stamp)
      else
        leave.keep()
      end
    end
  end
  local removed, kept = leave.finish()
  if #letters > 0 then
    deadletter.move_fifo(r.base, r.dlq, group, letters, r.now_us)
  end
  local is_unlocked = (kept == 0 or r.visibility_ms == 0) and (delivered > 0 or removed > 0 or not is_stopped)
  return {
    delivered = delivered,
    removed = removed,
    missing_dlq = missing_dlq,
    steps = steps - (removed > 0 and 2 or 0) - (#letters > 0 and 11 or 0), -- LTRIM, HDEL; deadletter.move_fifo()
    is_unlocked = not missing_dlq and is_unlocked,
  }
end
