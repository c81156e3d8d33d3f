--[[
Find a message of a standard queue by its id, wherever it is, without touching it. Among very many in flight or delayed
ones, the first 100,000 or so are looked at.

KEYS   1 meta     HASH  queue attributes
       2 ready    LIST  key, record ...
       3 store    HASH  member -> record
       4 inflight ZSET  member -> visible again (ms * 1000) + receives
       5 delayed  ZSET  key or member -> due (ms * 1000) + receives
ALSO   group:NAME again:NAME
ARGV   1 now_us  "" = the server's clock
       2 id      24 characters
       3 ready   "1" = look among the ready messages of these groups only
       4... groups among whose messages it is looked for, beside those without one
RETURN {state, key, score or "", record}; state v visible, f in flight, d delayed | 0 not found (here) | {n} not found
       in the first n groups, the others come next
ERRORS QUEUE_NOT_FOUND
BOUND  1500 calls, 4 MiB
]]
local fair_ring = require("lib.fair_ring")
local message = require("lib.message")
local sorted = require("lib.sorted")
local score = require("lib.score")

local meta, ready, store, inflight, delayed = unpack(KEYS)
local id, is_ready_only = ARGV[2], ARGV[3] == "1"
local visibility, unsorted, largest = unpack(redis.call("HMGET", meta, "VisibilityTimeout", "unsorted", "large"))
if not visibility then
  return redis.error_reply("QUEUE_NOT_FOUND " .. meta)
end
local _, now = require("lib.clock")(ARGV[1], true)
local now_ms, base = tonumber(now), string.match(meta, ".*:")

-- Among those that were not received yet.
local function find_ready(list, waiting_key)
  local index = sorted.find(list, id)
  if not index or message.is_tombstone(redis.call("LINDEX", list, 2 * index)) then
    -- a clock went back, or it left and came back
    local position = redis.call("LPOS", list, waiting_key, "MAXLEN", "20000")
    index = position and position / 2 or unsorted and sorted.search(list, id, largest)
  end
  local key = index and redis.call("LINDEX", list, 2 * index)
  if key and not message.is_tombstone(key) then
    return {"v", key, "", redis.call("LINDEX", list, 2 * index + 1)}
  end
  return nil
end

-- The member of a ZSET that begins with the id.
local function find_member(zset, state, pages)
  local member, at, cursor = id, redis.call("ZSCORE", zset, id), "0"
  for _ = 1, at and 0 or pages do
    local page = redis.call("ZSCAN", zset, cursor, "MATCH", id .. "*", "COUNT", "10000")
    cursor, member, at = page[1], page[2][1], page[2][2]
    if at or cursor == "0" then
      break
    end
  end
  local record = at and redis.call("HGET", store, member)
  return record and {tonumber(score.time(at)) > now_ms and state or "v", member, at, record}
end

for i = 4, #ARGV do
  local found = find_ready(fair_ring.list(base, ARGV[i]), id .. "@" .. ARGV[i])
    or find_member(fair_ring.again(base, ARGV[i]), "v", #ARGV < 6 and 10 or 1)
  if found then
    return found
  elseif sorted.is_spent() then
    return {i - 3}
  end
end
return not is_ready_only
    and (find_ready(ready, id) or find_member(delayed, "d", 10) or find_member(inflight, "f", 10)
      or find_member(fair_ring.again(base, ""), "v", 10))
  or 0
