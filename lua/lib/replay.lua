--[[
A receive whose caller got no answer is repeated: what it was handed out, as far as nobody touched it since. Its slot has
(lib/idempotency.lua) the score and the member of `inflight` of each message (packed, if there are several), or behind a "=",
if they were deleted at once or (FIFO) stay visible, the whole answer: "!" once the caller has that (forget_answer.lua),
"?" if it is large and they are still there. Returns the answer, or nil if there is none: then it receives anew. The
second value is true if the slot knows the call: then what was to be deleted with it was deleted before anything was
handed out, and must not be deleted again, as a message received since may look the same.
]]
return function(slot, base, is_fifo, topology, now)
  local known = redis.call("GET", slot)
  if not known or string.sub(known, -8) ~= string.sub(ARGV[1], 1, 8) then
    return nil, false
  elseif string.sub(known, 1, 1) == "?" then
    return nil, true
  elseif string.sub(known, 1, 1) == "!" then -- this is an attempt that arrives late
    return {tonumber(now), topology, 0, 0, "", {}}, true
  elseif string.sub(known, 1, 1) == "=" then
    redis.call("PEXPIRE", slot, require("lib.idempotency").life(true))
    return cmsgpack.unpack(string.sub(known, 2, -9)), true
  end
  local scores, held, reply = nil, {}, {}
  if string.find(known, "^%d") then -- of one message
    scores = {string.sub(known, 1, 16), string.sub(known, 17, -9)}
  else
    scores = cmsgpack.unpack(string.sub(known, 1, -9))
  end
  local members = {}
  for i = 2, #scores, 2 do
    members[#members + 1] = scores[i]
  end
  local found = redis.call("ZMSCORE", base .. "inflight", unpack(members))
  for i = 1, #scores, 2 do
    if found[(i + 1) / 2] == scores[i] then
      held[#held + 1] = {score = scores[i], member = scores[i + 1]}
    end
  end
  if #held == 0 then
    return nil, true
  elseif not is_fifo then
    for _, m in ipairs(held) do
      reply[#reply + 1] = m.member
      reply[#reply + 1] = tonumber(string.sub(m.score, -3))
      reply[#reply + 1] = redis.call("HGET", base .. "store", m.member)
    end
    return {tonumber(now), topology, 0, 0, "", reply}, true
  end
  local counts, lists = {}, {}
  for _, member in ipairs(members) do
    local group = string.sub(member, 17)
    counts[group] = (counts[group] or 0) + 1
  end
  for _, m in ipairs(held) do
    local stamp, group = string.sub(m.member, 1, 16), string.sub(m.member, 17)
    -- they were at the head, so what is left of them is there still
    local list = lists[group] or redis.call("LRANGE", base .. "group:" .. group, "0", 2 * counts[group] - 1)
    lists[group] = list
    for i = 1, #list, 2 do
      if string.sub(list[i], 1, 16) == stamp then
        local history = redis.call("HGET", base .. "state", stamp)
        local n, first, since, b = require("lib.fifo").parse(history)
        local shown = require("lib.fifo").state(n, first, string.sub(since, 1, 13), b)
        for _, value in ipairs({list[i], group, shown, list[i + 1]}) do
          reply[#reply + 1] = value
        end
      end
    end
  end
  return {tonumber(now), topology, 0, 0, "", reply}, true
end
