-- Lists of key, record, key, record ... whose keys ascend (they begin with the time of sending).
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

return sorted
