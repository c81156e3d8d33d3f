--[[
A receive whose caller got no answer is repeated: it gets the same messages, those that were not touched since. The
caller's slot (lib/idempotency.lua) holds one of these answers:

  SCORE MEMBER  what was handed out, as it is in `inflight`; packed if there are several messages, or a suspect
                (lib/ahead.lua), with that word behind it; or
  *SCORE MEMBER SCORE MEMBER ...  the same, of a standard queue whose members have no group and no past
  =REPLY        the whole reply, packed: its messages were deleted at once, or (FIFO) stay visible
  ?             the same, but it is large and the messages are still there: it receives anew
  !             the same, but the caller has it (forget_answer.lua): this is an attempt that arrives late
]]
local idempotency = require("lib.idempotency")

local replay = {}

-- A member or key as a receipt has it.
local function as_received(base, member)
  local timeline = require("lib.timeline")
  return timeline.bound(base) and timeline.mark(member) or member
end

local LARGE = 8192 -- bytes
local SCORE, MEMBER = 16, 37 -- characters of a score, and of a member without group and past

-- Keep a whole reply.
function replay.save_reply(slot, number, reply, are_gone)
  local answer = "=" .. cmsgpack.pack(reply)
  idempotency.save(slot, number, not are_gone and #answer > LARGE and "?" or answer)
end

-- The messages of an answer that are in flight as they were, {{score =, member =} ...}; and all of its members. If it
-- is a suspect, the list says so.
local function still_held(base, answer)
  local held, members, scores = {}, {}, {}
  if string.find(answer, "^%d") then
    scores = {string.sub(answer, 1, SCORE), string.sub(answer, SCORE + 1)}
  elseif string.find(answer, "^*") then
    for at = 2, #answer, SCORE + MEMBER do
      scores[#scores + 1] = string.sub(answer, at, at + SCORE - 1)
      scores[#scores + 1] = string.sub(answer, at + SCORE, at + SCORE + MEMBER - 1)
    end
  else
    scores = cmsgpack.unpack(answer)
  end
  for i = 2, #scores, 2 do
    members[#members + 1] = scores[i]
  end
  held.is_suspect = #scores == 3
  local found = redis.call("ZMSCORE", base .. "inflight", unpack(members))
  for i = 1, #members do
    if found[i] == scores[2 * i - 1] then
      held[#held + 1] = {score = found[i], member = members[i]}
    end
  end
  return held, members
end

local function standard_messages(base, held)
  local messages = {}
  for _, m in ipairs(held) do
    local receives = require("lib.score").receives(m.score)
    if held.is_suspect then
      receives = require("lib.ahead").marked(receives)
    elseif receives < 2 then -- the first one, which does not count yet if there is none
      receives = receives - 1
    end
    messages[#messages + 1] = as_received(base, m.member)
    messages[#messages + 1] = receives
    messages[#messages + 1] = redis.call("HGET", base .. "store", m.member)
  end
  return messages
end

-- The messages of FIFO members in their groups: {key, group, what history(stamp) gives, record ...}. They were at the
-- head, so what is left of them is there still; `members` are all that were, from the head on.
function replay.fifo_messages(base, held, members, history)
  local fifo_key = require("lib.fifo_key")
  local counts, lists, messages = {}, {}, {}
  for _, member in ipairs(members) do
    local group = fifo_key.group(member)
    counts[group] = (counts[group] or 0) + 1
  end
  for _, m in ipairs(held) do
    local stamp, group = fifo_key.stamp(m.member), fifo_key.group(m.member)
    local list = lists[group] or redis.call("LRANGE", base .. "group:" .. group, "0", 2 * counts[group] - 1)
    lists[group] = list
    for i = 1, #list, 2 do
      if fifo_key.stamp(list[i]) == stamp then
        for _, value in ipairs({as_received(base, list[i]), group, history(m, stamp), list[i + 1]}) do
          messages[#messages + 1] = value
        end
      end
    end
  end
  return messages
end

-- The reply to a call that the slot knows, or nil if there is nothing of it left: then it receives anew. The second
-- value is true if the slot knows the call: what was to be deleted with it was deleted before anything was handed out,
-- and must not be deleted again, as a message received since may look the same.
function replay.find(slot, number, base, is_fifo, topology, now)
  local answer = idempotency.known(slot, number)
  if not answer then
    return nil, false
  end
  local form, messages = string.sub(answer, 1, 1), {}
  if form == "?" then
    return nil, true
  elseif form == "=" then
    redis.call("PEXPIRE", slot, idempotency.KEPT_REPEATED_MS)
    return cmsgpack.unpack(string.sub(answer, 2)), true
  elseif form ~= "!" then
    local held, members = still_held(base, answer)
    if #held == 0 then
      return nil, true
    elseif is_fifo then
      local fifo = require("lib.fifo")
      messages = replay.fifo_messages(base, held, members, function(_, stamp)
        local n, first, since, b = fifo.parse(redis.call("HGET", base .. "state", stamp))
        return fifo.state(n, first, string.sub(since, 1, 13), b)
      end)
    else
      messages = standard_messages(base, held)
    end
  end
  return {tonumber(now), topology, 0, 0, "", messages}, true
end

-- The reply of a standard receive in its second form, with {status ...} of the receipts of which some are refused.
function replay.with_refused(reply, refused)
  if not refused then
    return reply
  elseif type(reply[1]) == "number" then
    reply[#reply + 1] = refused
    return reply
  end
  local topology, messages = #reply % 2 == 1 and table.remove(reply) or "", {}
  local receives = require("lib.ahead").slots() and -1 or 0
  for i = 1, #reply, 2 do
    messages[#messages + 1], messages[#messages + 2], messages[#messages + 3] = reply[i], receives, reply[i + 1]
  end
  return {tonumber(string.sub(reply[1], -13)), topology, 0, 0, "", messages, refused}
end

return replay
