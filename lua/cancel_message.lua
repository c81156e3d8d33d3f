#!lua flags=allow-oom
--[[
Take a waiting message out of a standard queue by its id: cancel it, or give it another time. A message in flight is
left alone. Among very many in flight or delayed ones, the first 100,000 or so are looked at.

KEYS   1 meta     HASH    queue attributes
       2 ready    LIST    key, record ...
       3 store    HASH    member -> record
       4 inflight ZSET    member -> visible again + receives
       5 delayed  ZSET    key or member -> due (ms * 1000) + receives
       6 wakeups  LIST    wakeup token
       7 timer    STRING  who wakes somebody at the next due time
ARGV   1 now_us  "" = the server's clock
       2 id      24 characters
       3 due     "" = cancel; else when it becomes visible: "ms", or "+ms" from now; ">..." = move it, if it is
                 visible, to another queue (lib/move_one.lua)
       4 ready   "1" = look among the ready messages of these groups only
       5... groups among whose ready messages it is looked for, beside those without one
RETURN 1 done | 0 not found (here) | {n} not found in the first n groups, the others come next | -1 in flight; of a move also -1 delayed | 2 it is in the outbox | -2 the outbox holds
       others | "no_source" or the name of a queue in another slot: call again with a batch
ERRORS QUEUE_NOT_FOUND
BOUND  1500 calls, 4 MiB
]]
return require("lib.idempotency").run(function()
  local clock = require("lib.clock")
  local message = require("lib.message")
  local wakeups = require("lib.wakeups")
  local fair_ring = require("lib.fair_ring")
  local sorted = require("lib.sorted")

  local meta, ready, store, inflight, delayed = unpack(KEYS)
  local id, due = ARGV[2], ARGV[3]
  local settings = redis.call("HMGET", meta, "VisibilityTimeout", "unsorted", "fair", "large")
  if not settings[1] then
    return redis.error_reply("QUEUE_NOT_FOUND " .. meta)
  end
  local now_us = clock(ARGV[1])
  local now_ms = tonumber(string.sub(now_us, 1, 13))
  local base = string.sub(meta, 1, -5)
  local key, record, receives = nil, nil, "000"
  local chosen = string.sub(due, 1, 1) == ">" and require("lib.move_one")(meta, false, now_us, due)
  local refusal, past = nil, ""

  -- May it go to another queue? If not, `refusal` is what to reply.
  local function refuses()
    local part = chosen and message.parse(key)
    refusal = part and (record and chosen.refusal(part.source, part.group or "") or not record and 0) or nil
    return refusal
  end

  -- The member of a ZSET that begins with the id, and its score.
  local function find(zset, pages)
    local cursor = "0"
    for _ = 1, pages do
      local page = redis.call("ZSCAN", zset, cursor, "MATCH", id .. "*", "COUNT", "10000")
      cursor = page[1]
      if #page[2] > 0 or cursor == "0" then
        return page[2][1], page[2][2]
      end
    end
    return nil
  end

  -- Ready? It leaves a tombstone in the list, which keeps its order; that weighs 25 bytes until it reaches the head. A
  -- call without groups has looked through the list without one before many groups are looked through.
  local places = {}
  for i = 5, #ARGV do
    places[#places + 1] = {base .. "group:" .. ARGV[i], id .. "@" .. ARGV[i]}
  end
  places[#places + 1] = {ready, id, chosen and chosen.place or 0}
  for i, place in ipairs(places) do
    local list = place[1]
    local is_searched = settings[2] and not (list == ready and #places > 1 and ARGV[4] == "1")
    local index = sorted.find(list, id)
    if not index or #redis.call("LINDEX", list, 2 * index) == 25 then -- a clock went back, or it left and came back
      local position = redis.call("LPOS", list, place[2], "MAXLEN", "20000")
      index = position and position / 2 or is_searched and sorted.search(list, id, settings[4], place[3])
    end
    local found = index and redis.call("LINDEX", list, 2 * index)
    if found and #found ~= 25 then
      key, record = found, redis.call("LINDEX", list, 2 * index + 1)
      if refuses() then
        return refusal
      end
      past = list == ready and "" or "group"
      redis.call("LSET", list, 2 * index, id .. "-")
      redis.call("LSET", list, 2 * index + 1, "")
      redis.call("HINCRBY", meta, "tombstones", 1)
      break
    elseif #places > 1 and sorted.is_spent() then
      return {math.max(i - 1, 1)}
    end
  end

  -- It leaves a ZSET; its receives of this stay are the last digits of the score.
  local function take(zset, member, score)
    key, receives, record = member, string.sub(score, -3), redis.call("HGET", store, member)
    if refuses() then
      return
    end
    past = (zset == delayed and "delayed " or "inflight ") .. score .. " " .. member
    redis.call("ZREM", zset, member)
    redis.call("HDEL", store, member)
  end

  -- Visible again in a group?
  for i = 4, not key and settings[3] and #ARGV or 0 do
    local again = fair_ring.again(base, i == 4 and "" or ARGV[i])
    local member, score = find(again, #ARGV < 7 and 10 or 1)
    if member then
      take(again, member, score)
      if refusal then
        return refusal
      end
      redis.call("HINCRBY", meta, receives == "000" and "arrived" or "returned", "-1")
      break
    end
  end

  -- Delayed?
  if not key and ARGV[4] == "1" then
    return 0
  elseif not key then
    local score = redis.call("ZSCORE", delayed, id)
    local member = score and id
    if not score then
      member, score = find(delayed, 10)
    end
    if member and chosen and tonumber(string.sub(score, 1, -4)) > now_ms then
      return -1
    elseif member then
      take(delayed, member, score)
    end
  end

  -- In flight? Received before and visible again?
  if not key then
    local member, score = find(inflight, 10)
    if not member then
      return 0
    elseif tonumber(string.sub(score, 1, -4)) > now_ms then
      return -1
    end
    take(inflight, member, score)
  end

  if refusal then
    return refusal
  elseif not record then -- damaged: nothing to hand out
    return 0
  elseif chosen then
    if receives ~= "000" then
      require("lib.moved").mark(base, now_ms, {key})
    end
    return chosen.go(key, message.group(key), record, past)
  elseif due ~= "" then
    -- Under the same member, so that receipts stay good; unless the key has to remember the time, for retention.
    local due_ms = math.max(require("lib.due")(due, now_us), now_ms)
    local scheduled = message.scheduled(key, due_ms)
    if scheduled ~= key and receives ~= "000" then
      local part = message.parse(scheduled)
      part.total, part.count = part.total + receives, part.count + receives
      scheduled, receives = message.format(part), "000"
      require("lib.moved").mark(base, now_ms, {key})
    end
    redis.call("HSET", store, scheduled, record)
    redis.call("ZADD", delayed, string.format("%d", due_ms) .. receives, scheduled)
    if redis.call("HSET", meta, "delays", "1") == 1 then
      require("lib.settings").mark(meta)
    end
    if due_ms > now_ms then
      wakeups.wake_for(base, now_ms, due_ms)
    else
      wakeups.wake(base)
    end
  end
  return 1
end)
