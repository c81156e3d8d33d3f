--[[
What happened to the messages of a partition, step by step, if the queue's setting Timeline is on: the LIST `timeline`,
which keeps up to that many bytes; the oldest steps drop out.

Nothing of it is paid for while it is off. While it is on, sends and receives take their slow paths (lib/settings.lua),
and receives hand out receipts with a *mark*: a "~" in front of the member (FIFO: of the key). No message is found under
such a name, so a marked receipt comes to the branches for what is gone. These take the mark off, and record.

A step is a msgpack array: OFFSET, when (ms), KIND, id (FIFO: stamp), and more. OFFSET is how many bytes of steps there
were ever before it, so what is kept is known without counting. Nothing else depends on a step: if it cannot be written,
the message goes its way all the same. KIND, and what comes behind the id:

  s  sent: caller, due (ms, 0 = at once)          r  received: caller, receives, visible until (ms), visible since (ms)
  u  a duplicate was sent: caller                  x  visibility changed: visible at (ms)
  l  released by a worker: outcome, visible at (ms), exception, its message, worker
  d  dead-lettered: source, dead-letter queue, receives, "1" = a worker said so
  m  moved: from, to, the other id there ("" = not known yet, or the same); at the destination the id is the new one,
     and the other one is the old one, as id, or as message id if it was in another slot; "<" behind it
  b  put back, as it could not be moved            t  rescheduled: due (ms)
  k  deleted: caller or ""                         c  cancelled
  e  expired                                       p  the queue was purged; instead of an id "purged"
]]
local timeline = {}

local EACH = 11 -- bytes that the list needs for an entry, beside it
local TEXT = 200 -- bytes of a text that comes from outside
local MARK = "~"

local bounds, callers, pending = {}, {}, {}

-- How many bytes the timeline of a partition may have; false = it is off.
function timeline.bound(base)
  if bounds[base] == nil then
    bounds[base] = tonumber(redis.call("HGET", base .. "meta", "Timeline") or "") or false
  end
  return bounds[base]
end

function timeline.mark(member)
  return MARK .. member
end

-- A member without its mark; nil if it has none.
function timeline.unmarked(member)
  return string.sub(member, 1, 1) == MARK and string.sub(member, 2) or nil
end

-- A caller, from its call slot.
function timeline.caller(slot)
  slot = slot or ""
  callers[slot] = callers[slot] or string.match(slot, ":call:([^:]*)$") or ""
  return callers[slot]
end

-- The queue of a partition.
function timeline.queue(base)
  return string.match(base, "([^:]+):$")
end

-- What a worker said of a failure (rqsqs/_core/envelope.py): exception, its message, worker.
function timeline.failure(cause)
  local is_packed, found = pcall(cmsgpack.unpack, cause)
  if not is_packed or type(found) ~= "table" then
    return "", "", ""
  end
  local texts = {}
  for i, text in ipairs({found[3] or "", found[4] or "", found[6] or ""}) do
    texts[i] = string.sub(tostring(text), 1, TEXT)
  end
  return unpack(texts)
end

local function is_fifo(base)
  return string.sub(base, -6) == ".fifo:"
end

-- The id of a message (FIFO: its stamp), from its key or member.
local function id_of(base, key)
  return string.sub(key, 1, is_fifo(base) and 16 or 24)
end

-- Take down a step of a message, by its key or member; write() writes it.
function timeline.add(base, kind, key, ...)
  if timeline.bound(base) then
    local steps = pending[base] or {}
    pending[base] = steps
    -- OFFSET and time come with write()
    steps[#steps + 1] = {0, 0, kind, kind == "p" and key or id_of(base, key), ...}
  end
end

-- A message is handed out to the caller of a receive, whose slot is KEYS[1]. `receives`: of this delivery cycle with
-- this one, or FIFO: those that count; visible_ms, since: until when it is in flight, since when it was visible (ms).
function timeline.received(base, key, receives, visible_ms, since)
  local total = receives
  if is_fifo(base) then
    local _, earlier = require("lib.fifo_key").earlier_receives(key)
    total = total + tonumber(earlier or "0")
  elseif require("lib.message").may_have_past(key) then
    total = total + require("lib.message").parse(key).total
  end
  timeline.add(base, "r", key, timeline.caller(KEYS[1]), total, visible_ms, tonumber(since) or 0)
end

-- What a receive hands out leaves with marked receipts, or (acks) is deleted at once. `messages` is its reply: a key or
-- member, and more, `stride` values each.
function timeline.hand_out(base, now_ms, messages, stride, acks)
  for i = 1, #messages, stride do
    if acks then
      timeline.add(base, "k", messages[i], timeline.caller(KEYS[1]))
    else
      messages[i] = MARK .. messages[i]
    end
  end
  timeline.write(now_ms)
end

-- A message moved to another queue in this slot, where it has a new key.
function timeline.moved(base, target, key, new_key)
  local from, to = timeline.queue(base), timeline.queue(target)
  timeline.add(base, "m", key, from, to, id_of(base, new_key), ">")
  timeline.add(target, "m", new_key, from, to, id_of(base, key), "<")
end

-- The OFFSET and the time of a packed step, 0 if it is none.
local function number(record, i)
  local is_packed, step = pcall(cmsgpack.unpack, record)
  return is_packed and type(step) == "table" and tonumber(step[i]) or 0
end

function timeline.offset(record)
  return number(record, 1)
end

function timeline.at(record)
  return number(record, 2)
end

-- The position of the first step from that OFFSET on.
function timeline.find(name, since)
  local low, high = 0, redis.call("LLEN", name)
  while low < high do
    local middle = math.floor((low + high) / 2)
    if timeline.offset(redis.call("LINDEX", name, middle)) < since then
      low = middle + 1
    else
      high = middle
    end
  end
  return low
end

-- Drop the oldest steps, more than need be, so that it is not to be done each time.
local function trim(name, total, bound)
  local first = redis.pcall("LINDEX", name, "0")
  if type(first) == "string" and total - timeline.offset(first) > bound then
    redis.call("LTRIM", name, timeline.find(name, total - math.floor(bound / 8 * 7)), "-1")
  end
end

-- Write what was taken down. now_ms: nil = by the server's clock.
function timeline.write(now_ms)
  if not next(pending) then
    return
  end
  now_ms = now_ms or tonumber((select(2, require("lib.clock")("", true))))
  for base, steps in pairs(pending) do
    local name, records = base .. "timeline", {}
    local last = redis.pcall("LINDEX", name, "-1")
    local total = type(last) == "string" and timeline.offset(last) + #last + EACH or 0
    for i, step in ipairs(steps) do
      step[1], step[2] = total, now_ms
      records[i] = cmsgpack.pack(step)
      total = total + #records[i] + EACH
    end
    if type(redis.pcall("RPUSH", name, unpack(records))) == "number" then
      trim(name, total, bounds[base])
    end
  end
  pending = {}
end

return timeline
