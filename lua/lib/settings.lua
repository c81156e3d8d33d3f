--[[
Queue attributes in `meta`: SQS's names and values as SQS shows them, and beside them in lower case what the scripts
derive or keep: dlq and max_receives (from RedrivePolicy, sent along by the client), special (something the fast paths
do not handle: a queue delay, fair groups, a pause, a deduplication window), delays (FIFO: some message is or was
delayed), unsorted (lists that are not in the order of ids any more), topology, last, messages, holes, grouped,
created_us, modified_us, deleting, purged_us, dlq_missing_until.
]]
local settings = {}

-- Set and remove fields (flat name, value array; array of names) and keep `special` true.
function settings.write(meta, changes, removals)
  if #changes > 0 then
    redis.call("HSET", meta, unpack(changes))
  end
  if #removals > 0 then
    redis.call("HDEL", meta, unpack(removals))
  end
  local now = redis.call("HMGET", meta, "DelaySeconds", "DeduplicationWindow", "fair", "paused", "paused_groups")
  if (now[1] and now[1] ~= "0") or now[2] or now[3] or now[4] or now[5] then
    redis.call("HSET", meta, "special", "1")
  else
    redis.call("HDEL", meta, "special")
  end
end

return settings
