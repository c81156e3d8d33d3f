--[[
Take messages out of the list of a FIFO group, by the keys in their receipts, in any order and wherever they stand. No
record passes through Lua. Those at the head go in one step; others are looked for, each behind the one before it first.
All of them must be there: something was known of them in `inflight` or `state`.
]]
local function stamp_of(key)
  return string.sub(key, 1, 16) -- lib/fifo_key.lua
end

return function(base, list, group, keys)
  local call = redis.call
  local wanted = {} -- stamp -> key
  for i = 1, #keys do
    wanted[stamp_of(keys[i])] = keys[i]
  end

  local function met(key)
    local stamp = stamp_of(key)
    if wanted[stamp] ~= key then -- it was given another time since
      redis.pcall("ZREM", base .. "delayed", stamp .. group)
    end
    wanted[stamp] = nil
  end

  -- The position of a message that was given another time since it was received: its key has changed.
  local function search(key)
    local stamp, fifo_key = stamp_of(key), require("lib.fifo_key")
    for _, name in ipairs({key, fifo_key.with_due(key)}) do
      local position = call("LPOS", list, name)
      if position then
        return position
      end
    end
    local index = require("lib.sorted").find(list, stamp)
    return index and 2 * index
  end

  local head, tombstones = 0, 0
  while head < 2 * #keys do
    local key = call("LINDEX", list, head)
    if not key or not wanted[stamp_of(key)] then
      break
    end
    met(key)
    head = head + 2
  end

  local left = {}
  for _, key in pairs(wanted) do
    left[#left + 1] = key
  end
  table.sort(left)
  local position = head
  for i = 1, #left do
    local key = call("LINDEX", list, position)
    if not key or stamp_of(key) ~= stamp_of(left[i]) then
      position = search(left[i])
      key = position and call("LINDEX", list, position)
    end
    if key then
      met(key)
      call("LSET", list, position, "")
      call("LSET", list, position + 1, "")
      tombstones, position = tombstones + 2, position + 2
    else
      position = head
    end
  end
  if tombstones > 0 then
    call("LREM", list, tombstones, "")
  end
  if head > 0 then
    call("LTRIM", list, head, "-1")
  end
end
