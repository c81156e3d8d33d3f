--[[
Large records. A script that reads records in bulk carries them through Lua, so it must know how large they may be
before it reads them: the field `large` of meta is the size of the largest record that a partition ever took, if that is
more than 4,096 bytes. A thousand smaller ones fit into one call, and cost nothing here.
]]
local large = {}

large.BYTES = 4194304 -- so much one call carries, beyond one message
local COMMON = 4096

-- A record of that size enters the partition.
function large.note(meta, bytes)
  if bytes <= COMMON then
    return
  end
  local have = redis.call("HGET", meta, "large")
  if not have or tonumber(have) < bytes then
    redis.call("HSET", meta, "large", bytes)
    if not have then
      require("lib.settings").mark(meta)
    end
  end
end

-- How many records may be read at once, if `room` are wanted and `left` bytes may be carried still. `field` is `large`.
function large.chunk(field, room, left)
  if not field then
    return room
  end
  return math.max(1, math.min(room, math.floor((left or large.BYTES) / tonumber(field))))
end

return large
