--[[
Queue attributes in `meta`: SQS's names and values as SQS shows them, and beside them in lower case what the scripts
derive or keep:

  dlq, max_receives  from RedrivePolicy, sent along by the client; dlq_missing_until: see lib/deadletter.lua
  special            there is something that the common paths do not handle: a queue delay, fair groups, a pause, a
                     deduplication window, partitions, delayed messages, large records, unsorted lists; "t" = a
                     timeline, with or without these
  plain              MaximumMessageSize, while a send without options needs to know nothing else but what is in front of
                     it: "+" = it counts its bytes (Metrics = full), "/TOPOLOGY" = it tells that; and a blank
  sends              the same for a fair queue none of whose groups is paused, and for sends with a group; FIFO: for all
                     sends; "c" in front = ContentBasedDeduplication, "g" = by message group
  quick              VisibilityTimeout and MessageRetentionPeriod, in ten characters each, topology, and "f" if
                     it is fair, while a receive needs to know nothing else
  delays             some message is delayed, or was until a while ago
  large              lib/large.lua
  unsorted           lists are not in the order of ids any more
  emptied            when (ms) a receive found the partition empty that is `large` or `unsorted`, if nothing came since
                     for which it is so
  fair, paused, paused_groups
  grouped, tombstones, returned, arrived, messages   how many there are: messages in the lists of groups, tombstones,
                     messages in `again:GROUP` that came back and that were delayed; FIFO: all messages
  topology, partition, partition_state, ids_until, longest_window   lib/partition.lua, lib/deduplication.lua
  last, bytes        FIFO: the newest stamp, the bytes of all records sent (lib/counting.lua)
  created_us, modified_us, purged_us, deleting
]]
local settings = {}

local CALM_MS = 600000

-- Set and remove fields (flat name, value array; array of names).
function settings.write(base, changes, removals)
  local meta = base .. "meta"
  if #changes > 0 then
    redis.call("HSET", meta, unpack(changes))
  end
  if #removals > 0 then
    redis.call("HDEL", meta, unpack(removals))
  end
  settings.mark(base)
end

-- A send to a FIFO queue needs to know the largest size and how it deduplicates.
local function mark_sends(meta, size, is_common)
  local by_content, scope = unpack(redis.call("HMGET", meta, "ContentBasedDeduplication", "DeduplicationScope"))
  if size and is_common then
    local how = (by_content == "true" and "c" or "") .. (scope == "messageGroup" and "g" or "")
    redis.call("HSET", meta, "sends", how .. size)
  else
    redis.call("HDEL", meta, "sends")
  end
end

-- Keep `special`, `plain`, `sends` and `quick` true.
function settings.mark(base)
  local meta = base .. "meta"
  local size, metrics, delay, window, fair, partition, topology, visibility, retention, timeline, other =
    unpack(redis.call("HMGET", meta, "MaximumMessageSize", "Metrics", "DelaySeconds", "DeduplicationWindow", "fair",
      "partition", "topology", "VisibilityTimeout", "MessageRetentionPeriod", "Timeline"))
  local paused_groups = redis.call("HGET", meta, "paused_groups")
  for _, value in ipairs(redis.call("HMGET", meta, "paused", "delays", "large", "unsorted")) do
    other = other or value
  end
  other = other or paused_groups
  delay = delay and delay ~= "0"
  if delay or window or fair or partition or timeline or other then
    redis.call("HSET", meta, "special", timeline and "t" or "1")
  else
    redis.call("HDEL", meta, "special")
  end
  if string.find(base, "%.fifo:$") then
    mark_sends(meta, size, not (delay or window or partition or timeline or paused_groups))
  elseif size and not (delay or timeline) then
    local is_home = string.sub(partition or "", 1, 2) == "0/" -- from its replies senders learn of other partitions
    local flags = (metrics == "full" and "+" or "") .. (is_home and "/" .. (topology or "") or "")
    local field, other_field = "plain", "sends"
    if fair then
      field, other_field = other_field, field
    end
    redis.call("HDEL", meta, other_field)
    if fair and paused_groups then
      redis.call("HDEL", meta, field)
    elseif #size <= 10 and not string.find(size, "%D") then -- else it is damaged, and sends know what it was
      redis.call("HSET", meta, field, flags == "" and size or flags .. " " .. size)
    end
  else
    redis.call("HDEL", meta, "plain", "sends")
  end
  local times = not (timeline or other) and visibility and retention and string.format("%10s%10s", visibility,
    retention)
  if times and string.find(times, "^ *%d+ *%d+$") and #times == 20 then
    redis.call("HSET", meta, "quick", times .. (topology or "") .. (fair and "f" or ""))
  else
    redis.call("HDEL", meta, "quick")
  end
end

-- The lists of a standard queue are not in the order of ids any more.
function settings.unsort(base)
  local meta = base .. "meta"
  local unsorted, emptied = unpack(redis.call("HMGET", meta, "unsorted", "emptied"))
  if emptied then
    redis.call("HDEL", meta, "emptied")
  end
  if not unsorted then
    redis.call("HSET", meta, "unsorted", "1")
    settings.mark(base)
  end
end

-- Nothing is delayed any more, if none of these sets is there: later receives need not look.
function settings.forget_delays(base, ...)
  if redis.call("EXISTS", ...) == 0 and redis.call("HDEL", base .. "meta", "delays") == 1 then
    settings.mark(base)
  end
end

-- A receive of a partition that is `large` or `unsorted`. It is so no longer, if it was empty once, and nothing came
-- for ten minutes since for which it would be. (At once would be too early: to change to and fro costs more than it
-- saves.) `emptied`: the field; `keys`: one of them is there if the partition is not empty, nil = it is not.
function settings.forget_contents(base, now_ms, emptied, keys)
  local meta = base .. "meta"
  if emptied then
    if now_ms >= tonumber(emptied) + CALM_MS then
      redis.call("HDEL", meta, "large", "unsorted", "emptied")
      settings.mark(base)
    end
  elseif keys and redis.call("EXISTS", base .. "outbox", base .. "paused", unpack(keys)) == 0 then
    redis.call("HSET", meta, "emptied", string.format("%d", now_ms))
  end
end

return settings
