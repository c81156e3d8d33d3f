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
       7 timer    STRING  who wakes a waiter at the next due time
ALSO   group:NAME again:NAME backup wake:WAITER moved outbox stats timeline; of another queue: meta ready group:NAME
       fair_ring paused wakeups stats timeline
ARGV   1 now_us  "" = the server's clock
       2 id      24 characters
       3 due     "" = cancel; "-" = delete, which counts as its receipt would; else when it becomes visible: "ms", or
                 "+ms" from now; ">..." = move it, if it is visible, to another queue (lib/move_one.lua)
       4 ready   "1" = look among the ready messages of these groups only
       5... groups among whose ready messages it is looked for, beside those without one
RETURN 1 done | 0 not found (here) | {n} not found in the first n groups, the others come next | -1 in flight; of a
       move also -1 delayed | 2 it is in the outbox | -2 the outbox holds others | "no_source" or the name of a queue in
       another slot: call again with a batch
ERRORS QUEUE_NOT_FOUND, QUEUE_DAMAGED
BOUND  1500 calls, 4 MiB
]]
return require("lib.idempotency").run(function()
  local fair_ring = require("lib.fair_ring")
  local message = require("lib.message")
  local counting = require("lib.counting")
  local sorted = require("lib.sorted")
  local score = require("lib.score")

  local meta, ready, store, inflight, delayed = unpack(KEYS)
  local id, due, is_ready_only = ARGV[2], ARGV[3], ARGV[4] == "1"
  local visibility, unsorted, fair, largest, has_timeline =
    unpack(redis.call("HMGET", meta, "VisibilityTimeout", "unsorted", "fair", "large", "Timeline"))
  if not visibility then
    return redis.error_reply("QUEUE_NOT_FOUND " .. meta)
  end
  redis.call("HLEN", store) -- keys of another type end the call here, before the message has left its place
  redis.call("ZCARD", delayed)
  local now_us, now = require("lib.clock")(ARGV[1], true)
  local now_ms, base = tonumber(now), string.match(meta, ".*:")
  local move = string.sub(due, 1, 1) == ">" and require("lib.move_one")(base, false, now_us, due)
  local key, record, receives, past = nil, nil, 0, ""
  local counted_as = "u" -- lib/counting.lua

  -- If it shall be moved and may not: what to reply.
  local function refusal()
    if not move then
      return nil
    end
    local part = message.parse(key)
    return not record and 0 or move.refusal(part.source, part.group or "")
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
    places[#places + 1] = {base .. "group:" .. ARGV[i], id .. "@" .. ARGV[i], 0, "group"}
  end
  places[#places + 1] = {ready, id, move and move.place or 0, ""}
  for i, place in ipairs(places) do
    local list, waiting_key, from, whence = unpack(place)
    local is_searched = unsorted and not (list == ready and #places > 1 and is_ready_only)
    local index = sorted.find(list, id)
    if not index or message.is_tombstone(redis.call("LINDEX", list, 2 * index)) then
      -- a clock went back, or it left and came back
      local position = redis.call("LPOS", list, waiting_key, "MAXLEN", "20000")
      index = position and position / 2 or is_searched and sorted.search(list, id, largest, from)
    end
    local found = index and redis.call("LINDEX", list, 2 * index)
    if found and not message.is_tombstone(found) then
      key, record, past = found, redis.call("LINDEX", list, 2 * index + 1), whence
      local refused = refusal()
      if refused then
        return refused
      end
      redis.call("LSET", list, 2 * index, id .. "-")
      redis.call("LSET", list, 2 * index + 1, "")
      redis.call("HINCRBY", meta, "tombstones", 1)
      break
    elseif #places > 1 and sorted.is_spent() then
      return {math.max(i - 1, 1)}
    end
  end

  -- It leaves a ZSET, or is refused.
  local function take(zset, member, at)
    key, receives, record = member, score.receives(at), redis.call("HGET", store, member)
    local refused = refusal()
    if not refused then
      past = (zset == delayed and "delayed " or "inflight ") .. at .. " " .. member
      counted_as = counting.place(base, zset, receives)
      redis.call("ZREM", zset, member)
      redis.call("HDEL", store, member)
    end
    return refused
  end

  -- Visible again in a group?
  for i = 4, not key and fair and #ARGV or 0 do
    local again = fair_ring.again(base, i == 4 and "" or ARGV[i])
    local member, at = find(again, #ARGV < 7 and 10 or 1)
    if member then
      local refused = take(again, member, at)
      if refused then
        return refused
      end
      redis.call("HINCRBY", meta, score.counter(at), "-1")
      break
    end
  end

  -- Delayed? In flight, or received before and visible again?
  if not key and is_ready_only then
    return 0
  elseif not key then
    local zset, at = delayed, redis.call("ZSCORE", delayed, id)
    local member = at and id
    if not at then
      member, at = find(delayed, 10)
    end
    if not member then
      zset = inflight
      member, at = find(inflight, 10)
    end
    if not member then
      return 0
    elseif tonumber(score.time(at)) > now_ms and (move or zset == inflight) then
      return -1
    end
    local refused = take(zset, member, at)
    if refused then
      return refused
    end
  end

  local function count(what, by)
    counting.add(base, {[what] = by})
  end
  local function record_step(kind, value)
    if has_timeline then
      local timeline = require("lib.timeline")
      timeline.add(base, kind, id, value)
      timeline.write(now_ms)
    end
  end
  if not record then -- damaged: nothing to hand out
    count("damaged_" .. counted_as, 1)
    return 0
  elseif move then
    count("moved_" .. counted_as, 1)
    if receives > 0 or counted_as == "r" then -- one that a worker took ahead has 0 (lib/ahead.lua)
      require("lib.moved").mark(base, now_ms, {key})
    end
    return move.go(key, message.group(key), record, past)
  elseif due == "-" then
    count("crossed", counted_as == "u" and 1 or 0) -- as what is received and deleted
    record_step("k", "")
  elseif due ~= "" then
    -- Under the same member, so that receipts stay good; unless the key has to remember the time, for retention.
    local due_ms = math.max(require("lib.due").time(due, 0, now_us), now_ms)
    local scheduled = message.scheduled(key, due_ms)
    if scheduled ~= key and (receives > 0 or counted_as == "r") then
      scheduled, receives = message.with_receives(scheduled, receives), 0
      require("lib.moved").mark(base, now_ms, {key})
    end
    count("crossed", counted_as == "r" and -1 or 0)
    redis.call("HSET", store, scheduled, record)
    redis.call("ZADD", delayed, score.of(due_ms, receives), scheduled)
    if redis.call("HSET", meta, "delays", "1") == 1 then
      require("lib.settings").mark(base)
    end
    record_step("t", due_ms)
    require("lib.announce")(base, now_ms, due_ms <= now_ms, due_ms)
  else
    count("cancelled_" .. counted_as, 1)
    record_step("c", "")
  end
  return 1
end)
