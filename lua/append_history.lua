#!lua flags=allow-oom
--[[
Append to the history of a queue what happened since the last sample of its metrics. Nothing happens if this minute, or
a later one, has been sampled: two samplers do no harm. Nor if the metrics were read before the last sample was
appended: those of other partitions may be older than what that one counted, and would count twice. Only the difference
to the last sample counts, so one that is lost, or comes twice, loses nothing.

A row is the time of its sample (ms, 13 digits), and in msgpack {span_ms, {column -> value}}: what was counted during
the span, if anything, and all gauges. The first one has no span, as nothing is known of what was before. No row is
written if nothing happened and no gauge changed, unless samples are missing before it: so in minutes without a row that
no span covers, nothing happened.

KEYS   1 meta          HASH    queue attributes
       2 history       LIST    rows of the present hour; longer if they are not packed
       3 history_last  STRING  msgpack {at_ms, created_ms, since_ms, {column -> total}, {column -> gauge}, appended_ms}
       4 history_hours HASH    hour -> packed rows
ARGV   1 now_us      "" = the server's clock
       2 at_ms       when the metrics were read, here first
       3 created_ms  when the queue was created
       4 totals      how many columns are totals; the others are gauges
       5... column, number
RETURN {0} | {1, {column, number ...}, row ...}: the sample was taken; what was counted since the one before; the rows
       of an hour that is over, which are to be packed
ERRORS QUEUE_NOT_FOUND
BOUND  20 calls, 128 KiB
]]
local meta, history, last_key, hours = unpack(KEYS)
local at, created, totals = tonumber(ARGV[2]), tonumber(ARGV[3]), tonumber(ARGV[4])
local _, now = require("lib.clock")(ARGV[1], true)
local MINUTE, HOUR, KEPT_MS = 60000, 3600000, 1296000000 -- 15 days
local MISSING_MS = 90000 -- since the last sample: one is missing
local MOST = 240 -- rows that wait to be packed

local created_us, deleting = unpack(redis.call("HMGET", meta, "created_us", "deleting"))
if not created_us or deleting then
  return redis.error_reply("QUEUE_NOT_FOUND " .. meta)
end
if math.floor(created_us / 1000) ~= created then
  return {0} -- the metrics are those of a queue that had this name before
end

local is_read, last_at, last_created, since, had, gauges, appended = pcall(function()
  local at_ms, created_ms, since_ms, counted, there, appended_ms =
    unpack(cmsgpack.unpack(redis.call("GET", last_key)))
  return tonumber(at_ms), created_ms, tonumber(since_ms), counted, there, tonumber(appended_ms) or 0
end)
-- Without what it needs it begins anew; so does it if the clock was put back.
local zero = nil -- what a column counts from that the last sample did not have: one of a later version counts from now
if not (is_read and last_at and since) or last_created ~= created or type(had) ~= "table" or type(gauges) ~= "table"
  or last_at > at + HOUR then
  last_at, since, had, gauges = at, at, {}, {}
  if at - created <= HOUR and redis.call("EXISTS", history) == 0 then -- all that happened is new
    last_at, since, zero = created, created, 0
  end
  if zero and math.floor(at / MINUTE) == math.floor(created / MINUTE) then
    return {0} -- of its first minute the next sample tells
  end
elseif math.floor(at / MINUTE) <= math.floor(last_at / MINUTE) or at < appended then
  return {0}
end

local counted = {}
local row, now_had, now_gauges, is_news, count = {}, {}, {}, at - last_at > MISSING_MS, 0
for i = 5, #ARGV, 2 do
  local column, number = ARGV[i], tonumber(ARGV[i + 1])
  if count < totals then
    local is_bucket = string.find(column, "^%a") -- which is left out if it is empty
    local before = tonumber(had[column]) or is_bucket and since < at and 0 or zero
    local more = number - (before or number)
    now_had[column] = number
    if more > 0 then -- data that was put back to an earlier state counts less than before
      row[column], is_news = more, true
      counted[#counted + 1], counted[#counted + 2] = column, more
    end
  else
    row[column], now_gauges[column] = number, number
    is_news = is_news or (gauges[column] or 0) ~= number
  end
  count = count + 1
end
for column, number in pairs(gauges) do
  is_news = is_news or (now_gauges[column] or 0) ~= number
end

if is_news then
  redis.call("RPUSH", history, string.format("%013d", at) .. cmsgpack.pack({at - last_at, row}))
  redis.call("LTRIM", history, -MOST, "-1")
  redis.call("PEXPIRE", history, KEPT_MS)
  redis.call("PEXPIRE", hours, KEPT_MS)
end
redis.call("SET", last_key, cmsgpack.pack({at, created, since, now_had, now_gauges, tonumber(now)}), "PX", KEPT_MS)

-- The hour of the minute that ends with a sample.
local function hour_of(ms)
  return ms and math.floor((math.floor(ms / MINUTE) - 1) / 60)
end
local function hour_of_row(stored)
  return hour_of(tonumber(string.match(stored, "^" .. string.rep("%d", 13))))
end

local reply, head = {1, counted}, redis.call("LINDEX", history, "0")
local hour = head and hour_of_row(head) or -1
if not head or hour >= hour_of(at) then
  return reply
end
for _, stored in ipairs(redis.call("LRANGE", history, "0", "59")) do
  local its = hour_of_row(stored)
  if not its then -- none of ours, and in the way of the others
    redis.call("LREM", history, "1", stored)
    return {1, counted}
  elseif its ~= hour then
    break
  end
  reply[#reply + 1] = stored
end
return reply
