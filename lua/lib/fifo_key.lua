--[[
The key of a message in the list of its FIFO group:

  STAMP [q | +DUE] [/FIRST/TOTAL/MOVED/SOURCE]

STAMP: 16 digits, the microsecond of sending made strictly increasing: order, identity and sequence number. "q": sent
under the queue's DelaySeconds (which acts on delayed messages when it changes). DUE: its own due time (ms). After the
slash, for a dead letter: first receive (ms), receives so far, when it moved (ms) and from which queue.

In the sets it is STAMP GROUP, its *member*.
]]
local fifo_key = {}

local STAMP = 16

-- Of a key or a member.
function fifo_key.stamp(key)
  return string.sub(key, 1, STAMP)
end

function fifo_key.group(member)
  return string.sub(member, STAMP + 1)
end

-- Is it only a stamp: never delayed, no dead letter?
function fifo_key.is_plain(key)
  return #key == STAMP
end

-- The stamp of a message that is sent now, behind the newest one.
function fifo_key.next_stamp(last, now_us)
  return now_us > last and now_us or string.format("%d", tonumber(last) + 1)
end

-- The key of the same message with another due time (ms), nil = none.
function fifo_key.with_due(key, due_ms)
  local due = due_ms and string.format("+%d", due_ms) or ""
  return fifo_key.stamp(key) .. due .. (string.match(key, "/.*$") or "")
end

-- The part of a dead letter's key about its time in the source: first receive (ms, string), receives, moved (ms,
-- string), source; or nil.
function fifo_key.earlier_receives(key)
  return string.match(key, "/(%d*)/(%d+)/(%d*)/(.*)$")
end

-- When it was sent (13 digits, ms).
function fifo_key.sent(key)
  return string.sub(key, 1, 13)
end

-- When its retention began (ms): sent, the due time it was given, or (a dead letter) moved.
function fifo_key.enqueued_at_ms(key)
  local _, _, moved = fifo_key.earlier_receives(key)
  if moved and moved ~= "" then
    return tonumber(moved)
  end
  return tonumber(string.match(key, "^%d+%+(%d+)") or fifo_key.sent(key))
end

-- Is its retention over? `oldest` is the earliest time (13 digits, ms) that is kept.
function fifo_key.is_expired(key, oldest)
  return key < oldest and fifo_key.enqueued_at_ms(key) < tonumber(oldest)
end

-- Since when (us, string) it can be received if no receive counts for it.
function fifo_key.available_us(key)
  return fifo_key.is_plain(key) and key or string.format("%d", fifo_key.enqueued_at_ms(key) * 1000)
end

-- When it became visible (ms) under the queue's delay, whatever receives count for it.
function fifo_key.visible_at_ms(key, queue_delay_ms)
  local is_postponed = string.sub(key, STAMP + 1) == "q"
  local due = tonumber(string.match(key, "^%d+%+(%d+)") or 0) -- a dead letter may have one beside its time of moving
  return math.max(fifo_key.enqueued_at_ms(key) + (is_postponed and queue_delay_ms or 0), due)
end

-- Is a message delayed still? (It leaves both sets when it is due.) A set of another type counts as empty.
function fifo_key.is_delayed(base, key, member)
  local mark = string.sub(key, STAMP + 1, STAMP + 1)
  local set = mark == "+" and "delayed" or mark == "q" and "postponed"
  return set and type(redis.pcall("ZSCORE", base .. set, member)) == "string"
end

return fifo_key
