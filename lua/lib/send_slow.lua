--[[
The slow path of send_message.lua, whose KEYS and ARGV these are without the slot: delays, message groups,
deduplication.
]]
local deduplication = require("lib.deduplication")
local fair_ring = require("lib.fair_ring")

local WITHOUT_OPTIONS = "2" -- arguments of a message

-- Does the message go here? "", or "!TOKEN" = not for this partition, or the id of the message that it duplicates.
local function deduplicate(base, partition, token, key, dedup_id, window_ms, is_own_window, now_us)
  local place, count = "here", nil
  if partition then
    place, count = require("lib.partition").place(partition, dedup_id, token)
  end
  if is_own_window and place == "here" then
    deduplication.carry_over(base, place, true, window_ms, now_us)
  end
  local name = base .. "dedup:" .. dedup_id
  if place == "elsewhere" then
    return "!"
  elseif place == "old" then -- it knows ids of the time before; new ones go to their new place
    return window_ms > 0 and deduplication.holder(base, name, nil, window_ms, now_us) or "!" .. count .. ":0"
  elseif window_ms > 0 and not redis.call("SET", name, key, "NX", "PX", string.format("%d", window_ms)) then
    return deduplication.holder(base, name, key, window_ms, now_us) or ""
  end
  return ""
end

local function append(list, messages)
  if #messages > 0 then
    redis.call("RPUSH", list, unpack(messages))
  end
end

-- Take back what was written of a call that breaks off: a key has another type.
local function take_back(base, written)
  for i = #written, 1, -1 do
    local key, group, id = unpack(written[i])
    if id and redis.pcall("GET", base .. "dedup:" .. id) == string.sub(key, 1, 24) then
      redis.call("DEL", base .. "dedup:" .. id)
    end
    if group then
      fair_ring.take_back(base, group, key)
    else
      redis.pcall("ZREM", base .. "delayed", key)
      redis.pcall("HDEL", base .. "store", key)
    end
  end
end

-- `written`: {key, group or false if it is delayed, deduplication id or false} of each message that was begun.
local function send(written)
  local meta, ready = unpack(KEYS)
  local size = tonumber(ARGV[1])
  local given_us, stride, token, is_check = string.match(ARGV[2], "^(%d*)/?(%d?)/?(.-)(c?)r?$")
  stride = stride == "" and WITHOUT_OPTIONS or stride
  local limit, delay, fair, window, topology, partition, plain, metrics, timeline = unpack(redis.call("HMGET", meta,
    "MaximumMessageSize", "DelaySeconds", "fair", "DeduplicationWindow", "topology", "partition", "plain", "Metrics",
    "Timeline"))
  timeline = timeline and require("lib.timeline")
  if is_check == "c" then
    local refused = require("lib.damaged").for_receivers(meta)
    if refused then
      return refused
    elseif not require("lib.damaged").is_whole(limit, 10) then -- as sends see it that do not look
      limit = string.match(plain or "", "%d+$") or limit
    end
  end
  if not limit then
    return redis.error_reply("QUEUE_NOT_FOUND " .. meta)
  elseif size > tonumber(limit) then
    return redis.error_reply("MESSAGE_TOO_LARGE " .. limit)
  end
  local now_us, now = require("lib.clock")(given_us, true)
  local now_ms, base = tonumber(now), string.match(meta, ".*:")
  local queue_delay_ms, queue_window_ms = (delay or 0) * 1000, (window or 300) * 1000
  require("lib.large").note(base, size)
  local reply, plain_ones, earliest_ms, visible = {now_us, topology or ""}, {}, nil, false
  local duplicates, bytes = 0, 0
  local caller = timeline and timeline.caller(require("lib.idempotency").caller())

  for i = 3, #ARGV, tonumber(stride) do
    local key, record = now_us .. ARGV[i], ARGV[i + 1]
    local due, group, dedup_id, own_window = "", "", "", ""
    if stride ~= WITHOUT_OPTIONS then
      due, group, dedup_id, own_window = unpack(ARGV, i + 2, i + 5)
    end
    local outcome = ""
    if dedup_id ~= "" then
      local window_ms = tonumber(own_window) or queue_window_ms
      outcome = deduplicate(base, partition, token, key, dedup_id, window_ms, own_window ~= "", now_us)
      if #outcome == #key and string.sub(outcome, 17) ~= ARGV[i] then -- else it was this call, which comes again
        duplicates = duplicates + 1
        if timeline then
          timeline.add(base, "u", outcome, caller)
        end
      end
    end
    if outcome == "" then
      local one = {key, false, dedup_id ~= "" and dedup_id}
      written[#written + 1] = one
      bytes = bytes + #record
      local due_ms = require("lib.due").time(due, queue_delay_ms, now_us)
      if group ~= "" then
        key = key .. "@" .. group
        if not fair then -- also if it is delayed: when it is due, its group takes part
          append(ready, plain_ones) -- the ring opens with those that wait
          plain_ones = {}
          fair_ring.open(base)
          fair = "1"
        end
      end
      if due_ms > now_ms then
        key = require("lib.message").scheduled(key, due_ms)
        one[1] = key
        redis.call("HSET", base .. "store", key, record)
        redis.call("ZADD", base .. "delayed", require("lib.score").of(due_ms, 0), key)
        earliest_ms = math.min(earliest_ms or due_ms, due_ms)
      else
        one[1], one[2] = key, group
        if fair then
          fair_ring.push(base, group, key, record)
        else
          plain_ones[#plain_ones + 1], plain_ones[#plain_ones + 2] = key, record
        end
        visible = true
      end
      if timeline then
        timeline.add(base, "s", key, caller, due_ms > now_ms and due_ms or 0)
      end
    end
    reply[#reply + 1] = outcome
  end

  if earliest_ms and redis.call("HSET", meta, "delays", "1") == 1 then
    require("lib.settings").mark(base)
  end
  append(ready, plain_ones)
  if duplicates > 0 then
    require("lib.counting").add(base, {dedup = duplicates})
  end
  if metrics == "full" and bytes > 0 then
    require("lib.counting").add(base, {bytes = bytes < 1e8 and bytes or string.format("%d", bytes)})
  end
  if timeline then
    timeline.write(now_ms)
  end
  if is_check == "c" then -- somebody may have edited the settings
    require("lib.settings").mark(base)
  end
  require("lib.announce")(base, now_ms, visible, earliest_ms)
  return reply
end

return function()
  local written = {}
  local is_done, reply = pcall(send, written)
  if not is_done then
    take_back(string.match(KEYS[1], ".*:"), written)
    return require("lib.damaged").caught(reply)
  end
  return reply
end
