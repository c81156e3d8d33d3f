#!lua flags=allow-oom
--[[
Change when messages of a FIFO queue become visible again (ChangeMessageVisibility and its batch form). The receipt
must be of the latest receive and its visibility timeout open.

KEYS   1 meta      HASH    queue attributes
       2 available ZSET    group -> since when its head can be received
       3 inflight  ZSET    stamp group -> visible again (ms * 1000) + receives
       4 state     HASH    stamp -> N/first_ms/available_us[/B] (lib/fifo.lua)
       5 wakeups   LIST    wakeup token
       6 timer     STRING  who wakes a waiter at the next due time
ALSO   group:NAME delayed postponed paused backup wake:WAITER timeline
ARGV   1 now_us    "" = the server's clock
       2 total_ms  longest invisibility counted from the receive; 0 = no limit
       3... key, group, receives, received_ms, visibility_ms per message
RETURN {status ...}: 1 changed, -1 the receipt has expired, -2 no such message, -3 beyond total_ms
ERRORS QUEUE_NOT_FOUND
BOUND  1500 calls, 64 KiB
]]
return require("lib.idempotency").run(function()
  local meta, _, inflight, states = unpack(KEYS)
  if redis.call("EXISTS", meta) == 0 then
    return redis.error_reply("QUEUE_NOT_FOUND " .. meta)
  end
  local now_us, now = require("lib.clock")(ARGV[1], true)
  local now_ms, base = tonumber(now), string.match(meta, ".*:")
  local total_ms = tonumber(ARGV[2])
  local reply, earliest_ms, visible, is_recorded = {}, nil, false, false

  -- Is a message in flight by the receive that a receipt is of? Stamps and scores are cut as lib/fifo_key.lua and
  -- lib/score.lua do.
  local function is_latest(at, stamp, receives)
    local n = tonumber(receives)
    if tonumber(string.sub(at, -3)) ~= math.min(n, 999) or tonumber(string.sub(at, 1, -4)) <= now_ms then
      return false
    end
    -- the score counts no further than 999
    return n < 999 or require("lib.fifo").is_latest(redis.call("HGET", states, stamp), receives)
  end

  for i = 3, #ARGV, 5 do
    local key, group, receives, received_ms, visibility_ms = unpack(ARGV, i, i + 4)
    local is_marked = string.byte(key) == 126 -- lib/timeline.lua
    if is_marked then
      key = string.sub(key, 2)
    end
    local stamp = string.sub(key, 1, 16)
    local member = stamp .. group
    local at = redis.call("ZSCORE", inflight, member)
    local status = 1
    if not at then
      status = redis.call("HEXISTS", states, stamp) == 1 and -1 or -2
    elseif not is_latest(at, stamp, receives) then
      status = -1
    elseif total_ms > 0 and now_ms + visibility_ms > received_ms + total_ms then
      status = -3
    else
      local span_ms = tonumber(visibility_ms)
      if span_ms <= 0 then
        visible = require("lib.fifo").expire(base, member, now_ms) or visible
      else
        local visible_ms = math.ceil(now_us / 1000) + span_ms -- late, but never early
        redis.call("ZADD", inflight, "XX", string.format("%d", visible_ms) .. string.sub(at, -3), member)
        earliest_ms = math.min(earliest_ms or visible_ms, visible_ms)
      end
      if is_marked then
        require("lib.timeline").add(base, "x", key, span_ms > 0 and math.ceil(now_us / 1000) + span_ms or now_ms)
        is_recorded = true
      end
    end
    reply[#reply + 1] = status
  end

  if is_recorded then
    require("lib.timeline").write(now_ms)
  end
  require("lib.announce")(base, now_ms, visible, earliest_ms)
  return reply
end)
