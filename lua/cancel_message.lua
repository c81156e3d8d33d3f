#!lua flags=allow-oom
--[[
Take a waiting message out of a standard queue by its id: cancel it, or give it another time. A message in flight is
left alone. Among very many in flight or delayed ones, the first 100,000 or so are looked at.

KEYS   1 meta     HASH    queue attributes
       2 ready    LIST    key, record ...
       3 store    HASH    key -> record
       4 inflight ZSET    member -> visible again + receives
       5 delayed  ZSET    key -> due (ms * 1000)
       6 bell     LIST    wake token
       7 keeper   STRING  who rings for the next due time
ARGV   1 now_us  "" = the server's clock
       2 id      24 characters
       3 due_ms  "" = cancel; else the time at which it becomes visible
       4 ready   "1" = look among the ready messages of these groups only
       5... groups among whose ready messages it is looked for, beside those without one
RETURN 1 done | 0 not found (here) | -1 in flight
ERRORS QUEUE_NOT_FOUND
]]
return require("lib.once").run(function()
  local clock = require("lib.clock")
  local message = require("lib.message")
  local bell = require("lib.bell")
  local sorted = require("lib.sorted")

  local meta, ready, store, inflight, delayed, token, keeper = unpack(KEYS)
  local id, due = ARGV[2], ARGV[3]
  local settings = redis.call("HMGET", meta, "VisibilityTimeout", "unsorted")
  if not settings[1] then
    return redis.error_reply("QUEUE_NOT_FOUND " .. meta)
  end
  local now_ms = tonumber(string.sub(clock(ARGV[1]), 1, 13))
  local base = string.sub(meta, 1, -5)
  local key, record

  -- The member of a ZSET that begins with the id, and its score.
  local function find(zset)
    local cursor = "0"
    for _ = 1, 10 do
      local page = redis.call("ZSCAN", zset, cursor, "MATCH", id .. "*", "COUNT", "10000")
      cursor = page[1]
      if #page[2] > 0 or cursor == "0" then
        return page[2][1], page[2][2]
      end
    end
    return nil
  end

  -- Ready? It leaves a hole in the list, which keeps its order; a hole weighs 25 bytes until it reaches the head.
  local places = {{ready, id}}
  for i = 5, #ARGV do
    places[#places + 1] = {base .. "group:" .. ARGV[i], id .. "@" .. ARGV[i]}
  end
  for _, place in ipairs(places) do
    local list = place[1]
    local index = sorted.find(list, id)
    if not index or #redis.call("LINDEX", list, 2 * index) == 25 then -- a clock went back, or it left and came back
      local position = redis.call("LPOS", list, place[2], "MAXLEN", "20000")
      index = position and position / 2 or (settings[2] and sorted.search(list, id))
    end
    local found = index and redis.call("LINDEX", list, 2 * index)
    if found and #found ~= 25 then
      key, record = found, redis.call("LINDEX", list, 2 * index + 1)
      redis.call("LSET", list, 2 * index, id .. "-")
      redis.call("LSET", list, 2 * index + 1, "")
      redis.call("HINCRBY", meta, "holes", 1)
      break
    end
  end

  -- Delayed?
  if not key and ARGV[4] == "1" then
    return 0
  elseif not key then
    key = redis.call("ZSCORE", delayed, id) and id or find(delayed)
    if key then
      record = redis.call("HGET", store, key)
      redis.call("HDEL", store, key)
      redis.call("ZREM", delayed, key)
    end
  end

  -- In flight? Received before and visible again?
  if not key then
    local member, score = find(inflight)
    if not member then
      return 0
    elseif tonumber(string.sub(score, 1, -4)) > now_ms then
      return -1
    end
    record = redis.call("HGET", store, message.field(member))
    redis.call("HDEL", store, message.field(member))
    redis.call("ZREM", inflight, member)
    local part, receives = message.parse(member), tonumber(string.sub(score, -3))
    part.total, part.count = part.total + receives, part.count + receives
    key = message.format(part)
  end

  if due ~= "" then
    local due_ms = tonumber(due)
    redis.call("HSET", store, key, record)
    redis.call("ZADD", delayed, string.format("%.0f", math.max(due_ms, now_ms) * 1000), key)
    if due_ms > now_ms then
      bell.ring_for(token, keeper, now_ms, due_ms)
    else
      bell.ring(token)
    end
  end
  return 1
end)
