--[[
Large records. A script that reads records in bulk carries them through Lua, so it must know how large they may be
before it reads them: the field `large` of meta is the size of the largest record that a partition took since it was
empty (lib/settings.lua), if that is more than 4,096 bytes. A thousand smaller ones fit into one call, and cost nothing
here.
]]
local large = {}

large.BYTES = 4194304 -- bytes of records that one call carries at most, beyond one message
local COMMON = 4096

-- A record of that size enters the partition.
function large.note(base, bytes)
  if bytes <= COMMON then
    return
  end
  local meta = base .. "meta"
  local have, emptied = unpack(redis.call("HMGET", meta, "large", "emptied"))
  if emptied then -- lib/settings.lua
    redis.call("HDEL", meta, "emptied")
  end
  if not have or tonumber(have) < bytes then
    redis.call("HSET", meta, "large", bytes)
    if not have then
      require("lib.settings").mark(base)
    end
  end
end

-- How many records may be read at once, if `room` are wanted and `left` bytes may be carried still. `largest` is the
-- field `large`, or false.
function large.chunk(largest, room, left)
  if not largest then
    return room
  end
  return math.max(1, math.min(room, math.floor((left or large.BYTES) / largest)))
end

-- Read up to `count` records, with their keys, from the head of a list, no more than `left` bytes beyond one of them.
-- Returns them, or the error if the list is none, and what is left of the bytes and of `steps`, the redis calls.
function large.range(largest, list, count, left, steps)
  local entries = {}
  while #entries < 2 * count and left > 0 and steps > 0 do
    local want = large.chunk(largest, count - #entries / 2, left)
    local more = redis.pcall("LRANGE", list, #entries, string.format("%d", #entries + 2 * want - 1))
    if more.err then
      return more, left, steps
    end
    for i = 1, #more, 2 do
      entries[#entries + 1], entries[#entries + 2] = more[i], more[i + 1]
      left = left - #more[i + 1]
    end
    steps = steps - 1
    if #more < 2 * want then
      break
    end
  end
  return entries, left, steps
end

return large
