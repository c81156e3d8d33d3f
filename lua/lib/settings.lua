--[[
Queue attributes in `meta`: SQS's names and values as SQS shows them, and beside them in lower case what the scripts
derive or keep: dlq and max_receives (from RedrivePolicy, sent along by the client), special (there is something the
fast paths do not handle: a queue delay, fair groups, a pause, a deduplication window, partitions, delayed messages,
large records, unsorted lists), plain (MaximumMessageSize, while a send without options needs to know nothing else but,
if a "/" is behind it, the topology), delays (some message is or was delayed), large (lib/large.lua), unsorted (lists
that are not in the order of ids any more), topology, partition_state (of the home: how many partitions the queue has,
lib/resharding.lua), partition (lib/partition.lua), ids_until and longest_window (lib/dedup_carry_over.lua), last, messages,
tombstones, grouped, created_us, modified_us, deleting, purged_us, dlq_missing_until.
]]
local settings = {}

-- Set and remove fields (flat name, value array; array of names).
function settings.write(meta, changes, removals)
  if #changes > 0 then
    redis.call("HSET", meta, unpack(changes))
  end
  if #removals > 0 then
    redis.call("HDEL", meta, unpack(removals))
  end
  settings.mark(meta)
end

-- Keep `special` and `plain` true.
function settings.mark(meta)
  local now = redis.call("HMGET", meta, "MaximumMessageSize", "DelaySeconds", "DeduplicationWindow", "fair", "paused",
    "paused_groups", "partition", "delays", "large", "unsorted")
  local delay = now[2] and now[2] ~= "0"
  if delay or now[3] or now[4] or now[5] or now[6] or now[7] or now[8] or now[9] or now[10] then
    redis.call("HSET", meta, "special", "1")
  else
    redis.call("HDEL", meta, "special")
  end
  if now[1] and not delay and not now[4] then
    local is_home = string.sub(now[7] or "", 1, 2) == "0/" -- from its replies senders learn of other partitions
    redis.call("HSET", meta, "plain", now[1] .. (is_home and "/" or ""))
  else
    redis.call("HDEL", meta, "plain")
  end
end

-- The lists of a standard queue are not in the order of ids any more.
function settings.unsort(meta)
  if redis.call("HSET", meta, "unsorted", "1") == 1 then
    settings.mark(meta)
  end
end

return settings
