--[[
Lists of key, record, key, record ... whose keys ascend (they begin with the time of sending). Dead letters and what
comes back to a paused group stand in the order of their arrival instead: such a list is searched through from its head.
]]
local message = require("lib.message")
local large = require("lib.large")

local sorted = {}
local CALLS = 1000 -- for looking through several lists; one takes 75 at most
local calls, room = 0, large.BYTES -- made so far, and bytes that may be carried still

-- The budget of the script is used up: a list that came after others may not have been looked through.
function sorted.is_spent()
  return calls > CALLS or room <= 0
end

-- The index (0 = head) of the message whose key begins with `prefix`, by bisection; nil if it is not there.
function sorted.find(list, prefix)
  local low, high, length = 0, redis.call("LLEN", list) / 2 - 1, #prefix
  calls = calls + 1
  while low <= high do
    calls = calls + 1
    local middle = math.floor((low + high) / 2)
    local key = string.sub(redis.call("LINDEX", list, 2 * middle), 1, length)
    if key == prefix then
      return middle
    elseif key < prefix then
      low = middle + 1
    else
      high = middle - 1
    end
  end
  return nil
end

-- How many of the first n messages of a list come before another one: `is_before(key)` is true of those up to some
-- place, and false of the others.
function sorted.count(list, is_before, n)
  local function holds(index)
    local key = redis.call("LINDEX", list, string.format("%d", 2 * index))
    return key and is_before(key)
  end
  if not holds(0) then
    return 0
  elseif n == 1 or holds(n - 1) then
    return n
  end
  local low, high = 1, n - 1
  while low < high do
    local middle = math.floor((low + high + 1) / 2)
    if holds(middle - 1) then
      low = middle
    else
      high = middle - 1
    end
  end
  return low
end

-- Put a message behind those of the first n that come before it by `is_before`.
function sorted.insert(list, key, record, is_before, n)
  local index = sorted.count(list, is_before, n)
  local following = index > 0 and redis.call("LINDEX", list, string.format("%d", 2 * index))
  if index == 0 then
    redis.call("LPUSH", list, record, key)
  elseif following then
    redis.call("LINSERT", list, "BEFORE", following, key)
    redis.call("LINSERT", list, "BEFORE", following, record)
  else
    redis.call("RPUSH", list, key, record)
  end
end

-- As sorted.find(), message by message, past tombstones, among 10,000 from index `first` on (the head), or as many as
-- fit into what is left of 4 MiB: `largest` is the field `large` of meta (lib/large.lua).
function sorted.search(list, prefix, largest, first)
  local start = first or 0
  for _ = 1, 50 do
    calls = calls + 1
    local step = large.chunk(largest or "4096", 200, room)
    local last = 2 * (start + step) - 1
    local found = redis.call("LRANGE", list, string.format("%d", 2 * start), string.format("%d", last))
    for i = 1, #found, 2 do
      if string.sub(found[i], 1, #prefix) == prefix and not message.is_tombstone(found[i]) then
        return start + (i - 1) / 2
      end
      room = room - #found[i] - #found[i + 1]
    end
    start = start + step
    if #found < 2 * step or room <= 0 then
      break
    end
  end
  return nil
end

return sorted
