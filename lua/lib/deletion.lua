-- Delete messages of a standard queue: members of `inflight` from ARGV[first] on. Returns how many were there.
return function(store, inflight, first)
  local deleted = redis.call("ZREM", inflight, unpack(ARGV, first))
  if deleted > 0 then
    local fields = {}
    for i = first, #ARGV do
      local member = ARGV[i]
      fields[#fields + 1] = #member == 37 and string.sub(member, 1, 24) or member -- lib/message.lua: field()
    end
    redis.call("HDEL", store, unpack(fields))
  end
  return deleted
end
