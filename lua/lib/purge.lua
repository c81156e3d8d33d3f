--[[
Empty the message groups of a queue that goes on, in several steps (delete_queue.lua). A message goes with all that is
known of it, so between the steps, too, what is left is whole and the counts are right, also of messages that come
meanwhile. Where nothing is known of messages beside their lists, they are not looked at one by one.
]]
local fair_ring = require("lib.fair_ring")
local fifo_key = require("lib.fifo_key")
local message = require("lib.message")
local score = require("lib.score")
local large = require("lib.large")

local purge = {}

-- What a step may still do, and what it found.
function purge.begin(base, is_fifo)
  local largest, tombstones, returned, arrived =
    unpack(redis.call("HMGET", base .. "meta", "large", "tombstones", "returned", "arrived"))
  local function is_any(count)
    return count and count ~= "0"
  end
  local is_each = is_any(tombstones)
  if is_fifo then
    is_each = redis.call("EXISTS", base .. "state", base .. "inflight", base .. "delayed", base .. "postponed") > 0
  end
  return {
    base = base, is_fifo = is_fifo, largest = largest, is_each = is_each,
    has_again = is_any(returned) or is_any(arrived),
    room = 1000, bytes = large.BYTES, reads = 700, -- messages, their bytes, LRANGEs
    unlinked = {}, gone = {}, members = {}, counts = {},
  }
end

local function count(r, field, by)
  r.counts[field] = (r.counts[field] or 0) + by
end

local function append(list, value)
  list[#list + 1] = value
end

-- Take messages off the head of a list. Returns how many, and whether that were all.
local function take_from_list(r, list, group)
  local room = r.room
  local entries
  entries, r.bytes, r.reads = large.range(r.largest, list, room, r.bytes, r.reads)
  local taken = #entries / 2
  for i = 1, #entries, 2 do
    if r.is_fifo then
      append(r.gone, fifo_key.stamp(entries[i]))
      append(r.members, fifo_key.stamp(entries[i]) .. group)
    elseif message.is_tombstone(entries[i]) then
      count(r, "tombstones", -1)
    end
  end
  if taken > 0 then
    redis.call("LTRIM", list, #entries, "-1")
  end
  r.room = room - taken
  return taken, taken < room and r.bytes > 0 and r.reads > 0
end

-- Take members out of a ZSET whose records are in `store`. Returns whether that were all.
local function take_from_set(r, name, is_of_group)
  local found = r.room > 0 and redis.call("ZRANGE", name, "0", r.room - 1, "WITHSCORES") or {}
  local members = {}
  for i = 1, #found, 2 do
    append(members, found[i])
    append(r.gone, found[i])
    if is_of_group then
      count(r, score.counter(found[i + 1]), -1)
    end
  end
  if #members > 0 then
    redis.call("ZREM", name, unpack(members))
  end
  r.room = r.room - #members
  return r.room > 0
end

-- Empty a message group ("": what has none). Returns whether it is empty.
function purge.group(r, group)
  local list, is_empty = r.base .. "group:" .. group, true
  local taken
  if not r.is_fifo then
    list = fair_ring.list(r.base, group)
  end
  if r.is_each then
    taken, is_empty = take_from_list(r, list, group)
  else
    taken = redis.call("LLEN", list) / 2
    append(r.unlinked, list)
  end
  if r.is_fifo or group ~= "" then
    count(r, r.is_fifo and "messages" or "grouped", -taken)
  end
  if r.has_again then
    is_empty = take_from_set(r, fair_ring.again(r.base, group), true) and is_empty
  end
  if r.is_fifo and not is_empty then -- what is its head now?
    redis.call("ZREM", r.base .. "available", group)
    require("lib.make_available")(r.base, group)
  end
  return is_empty
end

-- Empty `inflight` or `delayed` of a standard queue. Returns whether it is empty.
function purge.set(r, name)
  return take_from_set(r, r.base .. name, false)
end

-- Forget what else is known of the messages that were taken.
function purge.finish(r)
  if #r.unlinked > 0 then
    redis.call("UNLINK", unpack(r.unlinked))
  end
  if #r.gone > 0 then
    redis.call("HDEL", r.base .. (r.is_fifo and "state" or "store"), unpack(r.gone))
  end
  for _, set in ipairs(#r.members > 0 and {"inflight", "delayed", "postponed"} or {}) do
    redis.call("ZREM", r.base .. set, unpack(r.members))
  end
  for field, by in pairs(r.counts) do
    if by ~= 0 then
      redis.call("HINCRBY", r.base .. "meta", field, by)
    end
  end
end

return purge
