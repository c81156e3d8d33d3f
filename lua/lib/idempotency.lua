--[[
Do something once, however often it is asked for. A caller that got no answer asks again and gets the first one.

KEYS[1] is the caller's call slot, a STRING, which ends by itself after two minutes: the answer to the last call in it,
and behind it the number of that call, 8 characters. No caller repeats what it sent more than 100 s ago. A slot has one
call at a time, and none after one that was repeated, so a call that arrives later than its repetition is recognised as
well: a slot in which a call was repeated stays an hour. The runners put the slot in front of KEYS, and the number in
front of ARGV (send_message.lua takes the name of its first message), with "r" behind it if the call is repeated.
]]
local idempotency = {}

local NUMBER = 8 -- characters of a number
local KEPT_MS = "120000"
idempotency.KEPT_REPEATED_MS = "3600000"
local caller

-- The answer that a slot holds to the call of that number (as in ARGV), else nil.
function idempotency.known(slot, number)
  local held = redis.call("GET", slot)
  if held and string.sub(held, -NUMBER) == string.sub(number, 1, NUMBER) then
    return string.sub(held, 1, -NUMBER - 1)
  end
  return nil
end

-- Keep an answer, text: "=" and a packed reply, or what the script makes of it.
function idempotency.save(slot, number, answer)
  local is_repeated = #number > NUMBER
  local kept_ms = is_repeated and idempotency.KEPT_REPEATED_MS or KEPT_MS
  redis.call("SET", slot, answer .. string.sub(number, 1, NUMBER), "PX", kept_ms)
end

-- The answer that the slot knows, which may have another one by now, as a reply. A write, so that waiting for replicas
-- after it means something. What is kept is always packed then: send_message.lua tells from the length of what it
-- finds that nothing was repeated.
function idempotency.again(slot, number, answer)
  if string.sub(answer, 1, 1) ~= "=" then
    answer = "=" .. cmsgpack.pack(answer)
  end
  idempotency.save(slot, string.sub(number, 1, NUMBER) .. "r", answer)
  return cmsgpack.unpack(string.sub(answer, 2))
end

-- Do `work` if it was not done yet, without slot and number in KEYS and ARGV. An error is not an answer.
function idempotency.run(work, number)
  local slot = table.remove(KEYS, 1)
  caller = slot
  number = number or table.remove(ARGV, 1)
  local known = idempotency.known(slot, number)
  if known then
    return idempotency.again(slot, number, known)
  end
  local reply = work()
  if type(reply) ~= "table" or not reply.err then
    idempotency.save(slot, number, "=" .. cmsgpack.pack(reply))
  end
  return reply
end

-- The call slot of what run() does.
function idempotency.caller()
  return caller
end

return idempotency
