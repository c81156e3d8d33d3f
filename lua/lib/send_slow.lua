--[[
The uncommon cases of send_message.lua, whose KEYS and ARGV these are without the slot: delays, message groups,
deduplication.
]]
local wakeups = require("lib.wakeups")
local deduplication = require("lib.deduplication")
local fair_ring = require("lib.fair_ring")

return function()
  local meta, ready = unpack(KEYS)
  local more = redis.call("HMGET", meta, "MaximumMessageSize", "DelaySeconds", "fair", "DeduplicationWindow",
    "topology", "partition")
  if string.sub(ARGV[3], -1) == "c" then
    local refused = require("lib.damaged").for_receivers(meta)
    if refused then
      return refused
    end
    more[1] = string.match(redis.call("HGET", meta, "plain") or more[1] or "", "^%d+") or more[1] -- as sends see it that do not look
  end
  if not more[1] then
    return redis.error_reply("QUEUE_NOT_FOUND " .. meta)
  end
  if tonumber(ARGV[2]) > tonumber(more[1]) then
    return redis.error_reply("MESSAGE_TOO_LARGE " .. more[1])
  end
  local now_us = require("lib.clock")(ARGV[1])
  local now_ms = tonumber(string.sub(now_us, 1, 13))
  local stride, pass = string.match(ARGV[3], "^(%d)/?(.-)c?$")
  local queue_delay, fair = tonumber(more[2] or "0") * 1000, more[3]
  local base = string.sub(meta, 1, -5)
  local store, delayed = base .. "store", base .. "delayed"
  local after_ms = require("lib.after")(now_us)
  local reply = {now_us, more[5] or ""}
  local earliest, visible
  if tonumber(ARGV[2]) > 4096 then
    require("lib.large").note(meta, tonumber(ARGV[2]))
  end
  local pushed = {} -- of a batch without options: at once

  for i = 4, #ARGV, tonumber(stride) do
    local key, record = now_us .. ARGV[i], ARGV[i + 1]
    local due, group, dedup_id, window = "", "", "", ""
    if stride == "6" then
      due, group, dedup_id, window = ARGV[i + 2], ARGV[i + 3], ARGV[i + 4], ARGV[i + 5]
    end
    local outcome = ""
    if dedup_id ~= "" then
      local name = base .. "dedup:" .. dedup_id
      local span = tonumber(window ~= "" and window or more[4] or "300") * (window ~= "" and 1 or 1000)
      local place, count = "here", nil
      if more[6] then
        place, count = require("lib.partition")(more[6], dedup_id, pass)
      end
      if window ~= "" and place == "here" then
        require("lib.dedup_carry_over")(meta, place, true, span, now_us)
      end
      if place == "elsewhere" then
        outcome = "!"
      elseif place == "old" then -- it knows ids of the time before; new ones go to their new place
        outcome = span > 0 and deduplication(meta, name, nil, span, now_us) or "!" .. count .. ":0"
      elseif span > 0 and not redis.call("SET", name, key, "NX", "PX", string.format("%.0f", span)) then
        outcome = deduplication(meta, name, key, span, now_us) or ""
      end
    end
    if outcome == "" then
      local due_ms = queue_delay > 0 and after_ms + queue_delay or now_ms
      if string.sub(due, 1, 1) == "+" then
        due_ms = due == "+0" and now_ms or after_ms + tonumber(string.sub(due, 2))
      elseif due ~= "" then
        due_ms = tonumber(string.sub(due, 2))
      end
      if group ~= "" then
        key = key .. "@" .. group
        if not fair then -- also if it is delayed: when it is due, its group takes part
          fair_ring.open(base)
          fair = "1"
        end
      end
      if due_ms > now_ms then
        if due_ms - now_ms > 900000 then
          key = require("lib.message").scheduled(key, due_ms)
        end
        redis.call("HSET", store, key, record)
        redis.call("ZADD", delayed, string.format("%.0f", due_ms * 1000), key)
        if not earliest or due_ms < earliest then
          earliest = due_ms
        end
      else
        if fair then
          fair_ring.push(base, group, key, record)
          redis.call("HINCRBY", meta, "grouped", group ~= "" and 1 or 0)
        elseif stride == "2" then
          pushed[#pushed + 1], pushed[#pushed + 2] = key, record
        else
          redis.call("RPUSH", ready, key, record)
        end
        visible = true
      end
    end
    reply[#reply + 1] = outcome
  end

  if earliest and redis.call("HSET", meta, "delays", "1") == 1 then
    require("lib.settings").mark(meta)
  end
  if #pushed > 0 then
    redis.call("RPUSH", ready, unpack(pushed))
  end
  if visible then
    wakeups.wake(base)
  elseif earliest then
    wakeups.wake_for(base, now_ms, earliest)
  end
  return reply
end
