--[[
Do something once, however often it is asked for. A caller that got no answer asks again and gets the first one.

KEYS[1] is the caller's slot, a STRING, which ends by itself after two minutes: the answer to the last call in it, and
behind it the number of that call, 8 characters. No caller repeats what it sent more than 100 s ago. A slot has one call
at a time, and none after one that was repeated, so a call that arrives later than its repetition is recognised as well:
a slot in which a call was repeated stays an hour. The runners put the slot in front of KEYS, and the number in front of
ARGV (send_message.lua takes the name of its first message), with "r" behind it if the call is repeated.
]]
local idempotency = {}

-- How long a slot stays.
function idempotency.life(is_repeated)
  return is_repeated and "3600000" or "120000"
end

-- The answer that the slot knew, which may have another one by now. A write, so that waiting for replicas after it
-- means something.
function idempotency.again(slot, known)
  redis.call("SET", slot, known, "PX", idempotency.life(true))
  if string.sub(known, 1, 1) == "=" then
    return cmsgpack.unpack(string.sub(known, 2, -9))
  end
  return string.sub(known, 1, -9)
end

-- Do `work` if it was not done yet, without slot and number in KEYS and ARGV. An error is not an answer.
function idempotency.run(work, number, is_repeated)
  local slot = table.remove(KEYS, 1)
  if not number then
    number = table.remove(ARGV, 1)
    is_repeated = #number > 8
    number = string.sub(number, 1, 8)
  end
  local known = redis.call("GET", slot)
  if known and string.sub(known, -8) == number then
    return idempotency.again(slot, known)
  end
  local answer = work()
  if type(answer) ~= "table" or not answer.err then
    redis.call("SET", slot, "=" .. cmsgpack.pack(answer) .. number, "PX", idempotency.life(is_repeated))
  end
  return answer
end

return idempotency
