--[[
What is shown of messages of a FIFO queue, given their keys and groups. Returns for each its place (v visible, f in
flight, d delayed), until when (ms, string, or ""), the receives that count and the first of them (ms, string). That
takes 2 redis calls, or 4 if one of them may be delayed, however many there are.
]]
local fifo_key = require("lib.fifo_key")
local fifo = require("lib.fifo")
local score = require("lib.score")

return function(base, keys, groups, now_ms, queue_delay_ms)
  if #keys == 0 then
    return {}
  end
  local stamps, members, may_be_delayed = {}, {}, false
  for i, key in ipairs(keys) do
    stamps[i] = fifo_key.stamp(key)
    members[i] = stamps[i] .. groups[i]
    may_be_delayed = may_be_delayed or not fifo_key.is_plain(key)
  end
  local states = redis.call("HMGET", base .. "state", unpack(stamps))
  local flights = redis.call("ZMSCORE", base .. "inflight", unpack(members))
  local dues, sents = {}, {}
  if may_be_delayed then
    dues = redis.call("ZMSCORE", base .. "delayed", unpack(members))
    sents = redis.call("ZMSCORE", base .. "postponed", unpack(members))
  end
  local shown = {}
  for i = 1, #keys do
    local place, until_ms = "v", ""
    local due_ms = dues[i] and tonumber(dues[i]) or sents[i] and tonumber(sents[i]) + queue_delay_ms
    if flights[i] and tonumber(score.time(flights[i])) > now_ms then
      place, until_ms = "f", score.time(flights[i])
    elseif due_ms and due_ms > now_ms then
      place, until_ms = "d", string.format("%d", due_ms)
    end
    shown[i] = {place, until_ms, fifo.shown(states[i])}
  end
  return shown
end
