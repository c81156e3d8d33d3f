--[[
A worker releases messages that it did not finish, of either kind of queue: release_message.lua describes the arguments
from the outcome on, and the reply. `kind` has the functions that differ between the two:

  names, is_fifo                  how many arguments name a message
  find(i)                         the message ARGV[i] ...: {counted = receives that count, ...}, or nil, status
  requeue(m, is_suspect)          it was not begun
  record(m)                       its record, nil if it is damaged and was forgotten
  retry(m, record, delay_ms)      visible again after a while
  dead_letter(m, record, policy)  to the dead-letter queue; returns the error if that is damaged, and did nothing then
  is_visible(m, status)           called after any of them: is a message visible now?

find() gives m.is_marked if the receipt was (lib/timeline.lua).
]]
local deadletter = require("lib.deadletter")

local GONE, DEAD_LETTERED, NO_SHARD = -2, -3, -4

return function(base, now_us, kind)
  local now_ms = math.floor(now_us / 1000)
  local reply, missing_dlq, shortest, visible = {}, "", nil, false
  local timeline, is_recorded -- if the receipt was marked; if any was
  local policy, decide -- read when the first message has failed

  local function retry(m, outcome, cause, size, failures, wanted, chance, kinds)
    local record = kind.record(m)
    if not record then
      return GONE
    end
    if policy == nil then
      policy, decide = deadletter.policy(base) or false, require("lib.retry")(base)
    end
    local delay_ms, longest_ms = decide(kinds, tonumber(failures), wanted, tonumber(chance))
    local is_last = outcome == "dead-letter" or not delay_ms
    if cause ~= "" then
      record = string.sub(record, 1, size) .. cause
    end
    local fate = deadletter.fate(policy, is_last and math.huge or m.counted, now_ms)
    if fate == "dead-letter" and policy.is_damaged == nil then
      policy.is_damaged = require("lib.damaged").arrivals(policy.base, kind.is_fifo) ~= nil
    end
    if fate == "dead-letter" and policy.is_damaged then -- as without a dead-letter queue, until that is mended
      fate, is_last = "deliver", true
    end
    if timeline and fate ~= "wait" then
      local visible_ms = fate == "deliver" and now_ms + (is_last and longest_ms or delay_ms) or 0
      timeline.add(base, "l", m.member, outcome, visible_ms, timeline.failure(cause))
    end
    if fate == "dead-letter" then
      if not kind.dead_letter(m, record, policy) then
        return DEAD_LETTERED
      end
      is_last = true
    elseif fate == "wait" then
      missing_dlq = policy.name
      return NO_SHARD
    end
    delay_ms = is_last and longest_ms or delay_ms
    require("lib.large").note(base, #record)
    kind.retry(m, record, delay_ms)
    return delay_ms
  end

  for i = 2, #ARGV, kind.names + 7 do
    local first = i + kind.names -- the outcome
    local m, status = kind.find(i)
    timeline = m and m.is_marked and require("lib.timeline")
    is_recorded = is_recorded or timeline
    if m and (ARGV[first] == "requeue" or ARGV[first] == "return") then
      if timeline then
        timeline.add(base, "l", m.member, "requeue", now_ms, "", "", "")
      end
      kind.requeue(m, ARGV[first] == "return")
      status = 0
    elseif m then
      status = retry(m, unpack(ARGV, first, first + 6))
    end
    if m and (status >= 0 or status == DEAD_LETTERED) then
      visible = kind.is_visible(m, status) or visible
    end
    if status > 0 and (not shortest or status < shortest) then
      shortest = status
    end
    reply[#reply + 1] = status
  end
  reply[#reply + 1] = missing_dlq
  if is_recorded then
    require("lib.timeline").write(now_ms)
  end
  local earliest_ms = shortest and math.ceil(now_us / 1000) + shortest
  require("lib.announce")(base, now_ms, visible, earliest_ms)
  return reply
end
