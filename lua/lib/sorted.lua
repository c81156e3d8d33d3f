-- Lists of key, record, key, record ... whose keys ascend (they begin with the time of sending). Dead letters and what
-- comes back to a paused group stand in the order of their arrival instead: of such a list the head is searched through.
local sorted = {}

-- The index (0 = head) of the message whose key begins with `prefix`, by bisection; nil if it is not there.
function sorted.find(list, prefix)
  local low, high, length = 0, redis.call("LLEN", list) / 2 - 1, #prefix
  while low <= high do
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

-- The same message by message, among the first 10,000, and past holes (lib/message.lua).
function sorted.search(list, prefix)
  for start = 0, 9800, 200 do
    local pairs_ = redis.call("LRANGE", list, 2 * start, 2 * start + 399)
    for i = 1, #pairs_, 2 do
      if string.sub(pairs_[i], 1, #prefix) == prefix and #pairs_[i] ~= 25 then
        return start + (i - 1) / 2
      end
    end
    if #pairs_ < 400 then
      break
    end
  end
  return nil
end

return sorted
