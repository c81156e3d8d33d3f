-- A send to a FIFO queue came upon a key of another type: take back what it has written, the last message first.
-- `reply`: what became of each so far; by_content, by_group: the settings of deduplication; ARGV, `number` and
-- `stride` are those of send_message_fifo.lua. Returns the error.
return function(base, reply, number, stride, by_content, by_group, refused)
  local call = redis.call
  for n = #reply, 1, -1 do
    local stamp, group, dedup = reply[n], ARGV[stride * (n - 1) + 6], ARGV[stride * (n - 1) + 7]
    local list, member = base .. "group:" .. group, stamp .. group
    local key = redis.pcall("LINDEX", list, "-2")
    if type(key) == "string" and string.sub(key, 1, 16) == stamp then
      call("RPOP", list, "2")
    end
    redis.pcall("ZREM", base .. "delayed", member)
    redis.pcall("ZREM", base .. "postponed", member)
    if dedup ~= "" and (by_content or string.sub(dedup, 1, 1) == "=") then
      local name = base .. "dedup:" .. string.sub(dedup, 2) .. (by_group and ":" .. group or ":")
      if redis.pcall("GET", name) == stamp .. number then
        call("UNLINK", name)
      end
    end
  end
  return refused
end
