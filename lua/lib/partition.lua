-- Does a message group belong to the partition "NUMBER/COUNT" of its queue?
return function(partition, group)
  local number, count = string.match(partition, "^(%d+)/(%d+)$")
  return tonumber(string.sub(redis.sha1hex(group), 1, 8), 16) % tonumber(count) == tonumber(number)
end
