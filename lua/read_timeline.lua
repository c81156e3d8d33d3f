--[[
Read the steps of a message from a partition's timeline, the oldest first. Work is bounded: the caller goes on until the
cursor is "".

KEYS   1 meta     HASH  queue attributes
       2 timeline LIST  steps (lib/timeline.lua)
       3 timeline_callers HASH  process -> the worker that it was (beat_consumer.lua)
ARGV   1 cursor   "" = from the beginning, else what the last call said
       2... texts: a step that has one of them anywhere may be of the message, and so may a purge
RETURN {bytes, since_ms, cursor, {process, worker ...}, step ...}: bytes = how many the timeline may have, 0 = it is
       off; since_ms = when its oldest step was, 0 = it has none; cursor = where to go on, "" = that was all; the
       workers come with the first call
ERRORS QUEUE_NOT_FOUND
BOUND  300 calls, 2 MiB
]]
local PAGE, BYTES = 100, 1048576 -- steps that are read at once; bytes of steps that one call looks at, about
local meta, name, callers = unpack(KEYS)
local cursor = ARGV[1]
local visibility, bytes = unpack(redis.call("HMGET", meta, "VisibilityTimeout", "Timeline"))
if not visibility then
  return redis.error_reply("QUEUE_NOT_FOUND " .. meta)
end

local first = redis.call("LINDEX", name, "0")
local timeline = require("lib.timeline")
local reply = {tonumber(bytes) or 0, first and timeline.at(first) or 0, "", {}}
local at = 0
if cursor == "" then
  reply[4] = redis.call("HGETALL", callers)
elseif first then -- what was read may have dropped out meanwhile
  at = timeline.find(name, tonumber(cursor))
end
local looked = 0
while first do
  local page = redis.call("LRANGE", name, at, at + PAGE - 1)
  for _, step in ipairs(page) do
    looked = looked + #step
    local is_meant = string.find(step, "purged", 1, true)
    for i = 2, is_meant and 0 or #ARGV do
      is_meant = is_meant or string.find(step, ARGV[i], 1, true)
    end
    if is_meant then
      reply[#reply + 1] = step
    end
  end
  at = at + #page
  if #page < PAGE then
    break
  elseif looked >= BYTES then
    reply[3] = string.format("%.0f", timeline.offset(page[#page]) + 1)
    break
  end
end
return reply
