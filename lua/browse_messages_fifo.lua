--[[
Look at the messages of one state in one partition of a FIFO queue without touching them, group by group; those in
flight and delayed in the order of their time. Backwards: each group from its end on, the groups from the one whose
first message became visible last, and those in flight and delayed from the latest time on.

KEYS   1 meta      HASH  queue attributes
       2 available ZSET  group -> since when its head can be received
       3 inflight  ZSET  stamp group -> visible again (ms * 1000) + receives
       4 state     HASH  stamp -> N/first_ms/available_us[/B] (lib/fifo.lua)
       5 delayed   ZSET  stamp group -> due (ms)
       6 postponed ZSET  stamp group -> sent (ms)
       7 paused    SET   paused message groups
ALSO   group:NAME
ARGV   1 now_us  "" = the server's clock
       2 state   v visible, f in flight, d delayed
       3 place   at which of the keys that hold such messages or their groups to go on, 1 to begin
       4 offset  messages to skip of the group that was met last (backwards: at its end), 0 = go on behind it
       5 score   of the member of that key that was met last, "" to begin
       6 member  and its name
       7 limit   at most 1000
       8 backwards "1", or ""
RETURN {now_ms, more, place, offset, score, member, group, key, until_ms, receives, first_ms, record, ...}; more = 0:
       the end. Up to about 1,000 messages and groups are looked at, so that there may be none of them
ERRORS QUEUE_NOT_FOUND
BOUND  2500 calls, 4 MiB
]]
local fifo = require("lib.fifo")
local fifo_key = require("lib.fifo_key")
local large = require("lib.large")
local sorted = require("lib.sorted")
local paging = require("lib.paging")

local meta, available, inflight, _, delayed, postponed, paused = unpack(KEYS)
local wanted, place, offset, score, member = ARGV[2], tonumber(ARGV[3]), tonumber(ARGV[4]), ARGV[5], ARGV[6]
local is_backwards = ARGV[8] == "1"
local visibility, delay, largest = unpack(redis.call("HMGET", meta, "VisibilityTimeout", "DelaySeconds", "large"))
if not visibility then
  return redis.error_reply("QUEUE_NOT_FOUND " .. meta)
end
local _, now = require("lib.clock")(ARGV[1], true)
local now_ms = tonumber(now)
local base, delay_ms = string.match(meta, ".*:"), (delay or 0) * 1000
local places_of = {v = {available, inflight, delayed, postponed, paused}, f = {inflight}, d = {delayed, postponed}}
local places = places_of[wanted]
local reply = {now_ms, 0, 0, 0, "", ""}
local CALLS_OF_GROUP, CALLS_TO_PLACE = 5, 5 -- to read some of its messages; to tell whether a group is here
local room, looks, calls, bytes = tonumber(ARGV[7]), 1000, 2000, large.BYTES

local function is_spent()
  return room <= 0 or looks <= 0 or calls <= 0 or bytes <= 0 or sorted.is_spent()
end

-- Show those that are in the wanted state.
local function show(keys, groups, records)
  for i, of_key in ipairs(require("lib.fifo_look")(base, keys, groups, now_ms, delay_ms)) do
    local state, until_ms, receives, first = unpack(of_key)
    if state == wanted then
      for _, value in ipairs({groups[i], keys[i], until_ms, receives, first, records[i]}) do
        reply[#reply + 1] = value
      end
      room = room - 1
    end
  end
end

-- A group as long as there is room; offset is 0 when it has come to its end.
local function show_group(group)
  while not is_spent() do
    local want = large.chunk(largest, math.min(room, looks), bytes)
    local from, to = 2 * offset, 2 * (offset + want) - 1
    if is_backwards then
      from, to = -to - 1, -from - 1
    end
    local found = redis.call("LRANGE", fifo.list(base, group), from, to)
    local keys, groups, records = {}, {}, {}
    for n = 1, #found, 2 do
      local i = is_backwards and #found - n or n
      keys[#keys + 1], groups[#groups + 1], records[#records + 1] = found[i], group, found[i + 1]
      bytes = bytes - #found[i + 1]
    end
    looks, calls = looks - #keys, calls - CALLS_OF_GROUP
    show(keys, groups, records)
    if #keys < want then
      offset = 0
      return
    end
    offset = offset + want
  end
end

local function group_of(zset, name)
  return (zset == available or zset == paused) and name or fifo_key.group(name)
end

-- A group has one place: it is in `available`, or its head is in one of the others, or it is paused.
local function is_here(zset, name, group)
  if zset == available then
    return true
  end
  calls = calls - CALLS_TO_PLACE
  local head = redis.call("LINDEX", fifo.list(base, group), "0")
  if not head or redis.call("ZSCORE", available, group) then
    return false
  end
  head = fifo_key.stamp(head) .. group
  if zset ~= paused and head ~= name then
    return false
  end
  for i = 2, place - 1 do
    if redis.call("ZSCORE", places[i], head) then
      return false
    end
  end
  return true
end

-- Messages that are in flight or delayed, found one by one and shown together in the end.
local keys, groups, records = {}, {}, {}

local function find_one(name)
  local group = fifo_key.group(name)
  local list, stamp = fifo.list(base, group), fifo_key.stamp(name)
  local index = sorted.find(list, stamp) or sorted.search(list, stamp, largest)
  if index then
    local found = redis.call("LRANGE", list, 2 * index, 2 * index + 1)
    keys[#keys + 1], groups[#groups + 1], records[#records + 1] = found[1], group, found[2]
    room, bytes = room - 1, bytes - #found[2]
  end
end

if offset > 0 and places[place] then
  show_group(group_of(places[place], member))
end
while places[place] do
  local zset = places[place]
  local function step(name, at)
    if is_spent() or offset > 0 then
      return false
    end
    score, member, looks = at, name, looks - 1
    if wanted ~= "v" then
      find_one(name)
    elseif is_here(zset, name, group_of(zset, name)) then
      show_group(group_of(zset, name))
    end
    return offset == 0
  end
  local over = "-inf"
  if wanted ~= "v" then -- behind those whose time is over
    local over_at = zset == inflight and now_ms * 1000 + 999 or zset == postponed and now_ms - delay_ms or now_ms
    over = string.format("%d", over_at)
    score = (score ~= "" or is_backwards) and score or string.format("%d", over_at + 1)
  end
  local is_over = offset == 0
  if is_over and zset == paused then
    is_over = paging.set(zset, member, step)
  elseif is_over and is_backwards then
    is_over = paging.zset_backwards(zset, score, member, over, step)
  elseif is_over then
    is_over = paging.zset(zset, score, member, step)
  end
  if not is_over then
    reply[2], reply[3], reply[4], reply[5], reply[6] = 1, place, offset, score, member
    break
  end
  place, score, member = place + 1, "", ""
end
show(keys, groups, records)
return reply
