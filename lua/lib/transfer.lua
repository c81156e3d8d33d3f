--[[
Moving messages from one partition to another (message move tasks). Moved messages are new: new id, new time of
sending, no receives.
]]
local born = require("lib.born")
local message = require("lib.message")
local offer = require("lib.offer")
local fifo = require("lib.fifo")
local ring = require("lib.ring")
local bell = require("lib.bell")

local transfer = {}

-- Take up to `limit` visible messages out of a partition, oldest first: {{key, source, group, record} ...}. Stops before a
-- message that `accept(source, group)` refuses and returns what that said as second value.
function transfer.take(meta, is_fifo, now_us, limit, accept)
  local base, now = string.sub(meta, 1, -5), string.sub(now_us, 1, 13)
  local taken = {}
  if is_fifo then
    fifo.expire_due(base, now, 1000)
    while #taken < limit do
      local head = redis.call("ZPOPMIN", base .. "available")
      if #head == 0 then
        break
      end
      local group = head[1]
      local pair = redis.call("LRANGE", fifo.list(base, group), "0", "1")
      local _, _, _, source = born.history(pair[1])
      local refusal = accept(source or "", group)
      if refusal then
        redis.call("ZADD", base .. "available", head[2], group)
        return taken, refusal
      end
      redis.call("LPOP", fifo.list(base, group), "2")
      redis.call("HDEL", base .. "state", string.sub(pair[1], 1, 16))
      redis.call("HINCRBY", meta, "messages", -1)
      taken[#taken + 1] = {key = pair[1], source = source or "", group = group, record = pair[2]}
      offer(base, group)
    end
    return taken
  end

  local ready, store, inflight, groups = base .. "ready", base .. "store", base .. "inflight", base .. "ring"
  local fair = redis.call("HGET", meta, "fair")
  local holes = 0
  while #taken < limit do
    local group, list = "", ready
    if fair then
      group = redis.call("ZRANGE", groups, "0", "0")[1]
      if not group then
        break
      end
      list = ring.list(base, ready, group)
    end
    local pair = redis.call("LRANGE", list, "0", "1")
    if #pair == 0 then
      if fair then
        redis.call("ZREM", groups, group)
      else
        break
      end
    else
      local part = message.parse(pair[1])
      if #pair[1] == 25 then
        redis.call("HINCRBY", meta, "holes", -1)
        holes = holes + 1
        if holes == 1000 then
          redis.call("LPOP", list, "2")
          redis.call("HINCRBY", meta, "grouped", group ~= "" and -1 or 0)
          return taken, "more"
        end
      else
        local refusal = accept(part.source)
        if refusal then
          return taken, refusal
        end
        taken[#taken + 1] = {key = pair[1], source = part.source, group = part.group or "", record = pair[2]}
      end
      redis.call("LPOP", list, "2")
      if group ~= "" then
        redis.call("HINCRBY", meta, "grouped", -1)
      end
    end
  end
  local again = redis.call("ZRANGEBYSCORE", inflight, "-inf", now .. "999", "WITHSCORES", "LIMIT", "0", limit - #taken)
  for i = 1, #again, 2 do
    local member, receives = again[i], tonumber(string.sub(again[i + 1], -3))
    local part = message.parse(member)
    local refusal = accept(part.source)
    if refusal then
      return taken, refusal
    end
    local field = message.field(member)
    local record = redis.call("HGET", store, field)
    part.total, part.count = part.total + receives, part.count + receives
    taken[#taken + 1] = {key = message.format(part), source = part.source, group = part.group or "", record = record}
    redis.call("HDEL", store, field)
    redis.call("ZREM", inflight, member)
  end
  local delayed = base .. "delayed"
  for _, key in ipairs(redis.call("ZRANGEBYSCORE", delayed, "-inf", now .. "999", "LIMIT", "0", limit - #taken)) do
    local part = message.parse(key)
    local refusal = accept(part.source)
    if refusal then
      return taken, refusal
    end
    taken[#taken + 1] = {key = key, source = part.source, group = part.group or "", record = redis.call("HGET", store, key)}
    redis.call("HDEL", store, key)
    redis.call("ZREM", delayed, key)
  end
  return taken
end

-- Put messages back that were taken last and cannot arrive: a flat array key, group, record ...
function transfer.put_back(meta, is_fifo, messages)
  local base = string.sub(meta, 1, -5)
  if is_fifo then
    local groups = {}
    for i = #messages - 2, 1, -3 do
      redis.call("LPUSH", fifo.list(base, messages[i + 1]), messages[i + 2], messages[i])
      groups[messages[i + 1]] = true
    end
    redis.call("HINCRBY", meta, "messages", #messages / 3)
    for group in pairs(groups) do
      redis.call("ZREM", base .. "available", group)
      offer(base, group)
    end
  else
    local flat = {}
    for i = #messages - 2, 1, -3 do
      flat[#flat + 1], flat[#flat + 2] = messages[i + 2], messages[i]
    end
    redis.call("LPUSH", base .. "ready", unpack(flat))
    redis.call("HSET", meta, "unsorted", "1")
    if redis.call("HGET", meta, "fair") then
      ring.resume(base, base .. "ring", base .. "ready", "")
    end
  end
  bell.ring(base .. "bell")
end

-- Append a message to a partition as a new one. `tail` makes ids of one microsecond distinct (8 characters).
function transfer.put(meta, is_fifo, now_us, tail, group, record)
  local base = string.sub(meta, 1, -5)
  if is_fifo then
    local last = redis.call("HGET", meta, "last") or ""
    local stamp = now_us
    if stamp <= last then
      stamp = string.format("%.0f", tonumber(last) + 1)
    end
    redis.call("HSET", meta, "last", stamp)
    redis.call("HINCRBY", meta, "messages", 1)
    if redis.call("RPUSH", fifo.list(base, group), stamp, record) == 2 then
      offer(base, group)
    end
  else
    local key = now_us .. tail .. (group ~= "" and "@" .. group or "")
    local fair = redis.call("HGET", meta, "fair")
    if group ~= "" and not fair then
      ring.open(meta, base .. "ring", base .. "ready")
      fair = "1"
    end
    if fair then
      ring.push(base, base .. "ring", base .. "ready", group, key, record)
      redis.call("HINCRBY", meta, "grouped", group ~= "" and 1 or 0)
    else
      redis.call("RPUSH", base .. "ready", key, record)
    end
  end
  bell.ring(base .. "bell")
end

return transfer
