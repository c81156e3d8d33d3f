--[[
Look at the messages of one state in one partition of a FIFO queue without touching them, group by group; those in
flight and delayed in the order of their time.

KEYS   1 meta      HASH  queue attributes
       2 available ZSET  group -> since when its head can be received
       3 inflight  ZSET  stamp group -> visible again (ms * 1000) + receives
       4 state     HASH  stamp -> N/first_ms/available_us[/B] (lib/fifo.lua)
       5 delayed   ZSET  stamp group -> due (ms)
       6 postponed ZSET  stamp group -> sent (ms)
       7 paused    SET   paused message groups
ARGV   1 now_us  "" = the server's clock
       2 state   v visible, f in flight, d delayed
       3 place   at which of the keys that hold such messages or their groups to go on, 1 to begin
       4 offset  messages to skip of the group that was met last, 0 = go on behind it
       5 score   of the member of that key that was met last, "" to begin
       6 member  and its name
       7 limit   at most 1000
RETURN {now_ms, more, place, offset, score, member, group, key, until_ms, receives, first_ms, record, ...}; more = 0: the
       end. About 1,000 messages and groups are looked at, so that there may be none of them
ERRORS QUEUE_NOT_FOUND
BOUND  2500 calls, 4 MiB
]]
local clock = require("lib.clock")
local fifo = require("lib.fifo")
local sorted = require("lib.sorted")
local paging = require("lib.paging")

local meta, available, inflight, states, delayed, postponed, paused = unpack(KEYS)
local wanted, place, offset, score, member = ARGV[2], tonumber(ARGV[3]), tonumber(ARGV[4]), ARGV[5], ARGV[6]
local settings = redis.call("HMGET", meta, "VisibilityTimeout", "DelaySeconds")
if not settings[1] then
  return redis.error_reply("QUEUE_NOT_FOUND " .. meta)
end
local now_ms = tonumber(string.sub(clock(ARGV[1]), 1, 13))
local base, delay_ms = string.sub(meta, 1, -5), tonumber(settings[2] or "0") * 1000
local places = ({v = {available, inflight, delayed, postponed, paused}, f = {inflight}, d = {delayed, postponed}})[wanted]
local reply = {now_ms, 0, 0, 0, "", ""}
local room, looks = tonumber(ARGV[7]), 1000

-- Its state, and until when.
local function state_of(key, name)
  local flight = redis.call("ZSCORE", inflight, name)
  if flight and tonumber(string.sub(flight, 1, -4)) > now_ms then
    return "f", string.sub(flight, 1, -4)
  elseif #key > 16 then
    local due = redis.call("ZSCORE", delayed, name)
    local sent = redis.call("ZSCORE", postponed, name)
    local due_ms = due and tonumber(due) or sent and tonumber(sent) + delay_ms
    if due_ms and due_ms > now_ms then
      return "d", string.format("%.0f", due_ms)
    end
  end
  return "v", ""
end

local function show(group, key, record)
  local stamp = string.sub(key, 1, 16)
  local mark, until_ms = state_of(key, stamp .. group)
  looks = looks - 1
  if mark == wanted then
    local receives, first = fifo.shown(redis.call("HGET", states, stamp))
    for _, value in ipairs({group, key, until_ms, receives, first, record}) do
      reply[#reply + 1] = value
    end
    room = room - 1
  end
end

-- A group as long as there is room; offset is 0 when it has come to its end.
local function show_group(group)
  while room > 0 and looks > 0 do
    local want = math.min(room, looks)
    local found = redis.call("LRANGE", fifo.list(base, group), 2 * offset, 2 * (offset + want) - 1)
    for i = 1, #found, 2 do
      show(group, found[i], found[i + 1])
    end
    if #found < 2 * want then
      offset = 0
      return
    end
    offset = offset + want
  end
end

local function group_of(zset, name)
  return (zset == available or zset == paused) and name or string.sub(name, 17)
end

-- A group has one place: it is in `available`, or its head is in one of the others, or it is paused.
local function is_here(zset, name, group)
  if zset == available then
    return true
  end
  local head = redis.call("LINDEX", fifo.list(base, group), "0")
  if not head or redis.call("ZSCORE", available, group) then
    return false
  end
  head = string.sub(head, 1, 16) .. group
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

local function show_one(name)
  local group = string.sub(name, 17)
  local list, stamp = fifo.list(base, group), string.sub(name, 1, 16)
  local index = sorted.find(list, stamp) or sorted.search(list, stamp, redis.call("HGET", meta, "large"))
  if index then
    local found = redis.call("LRANGE", list, 2 * index, 2 * index + 1)
    show(group, found[1], found[2])
  end
end

if offset > 0 and places[place] then
  show_group(group_of(places[place], member))
end
while places[place] do
  local zset = places[place]
  local function step(name, at)
    if room <= 0 or looks <= 0 or offset > 0 then
      return false
    end
    score, member, looks = at, name, looks - 1
    if wanted ~= "v" then
      show_one(name)
    elseif is_here(zset, name, group_of(zset, name)) then
      show_group(group_of(zset, name))
    end
    return offset == 0
  end
  if wanted ~= "v" and score == "" then -- behind those whose time is over
    local over = zset == inflight and now_ms * 1000 + 999 or zset == postponed and now_ms - delay_ms or now_ms
    score = string.format("%.0f", over + 1)
  end
  local is_over = offset == 0
  if is_over and zset == paused then
    is_over = paging.set(zset, member, step)
  elseif is_over then
    is_over = paging.zset(zset, score, member, step)
  end
  if not is_over then
    reply[2], reply[3], reply[4], reply[5], reply[6] = 1, place, offset, score, member
    return reply
  end
  place, score, member = place + 1, "", ""
end
return reply
