#!lua flags=allow-oom
--[[
Change when messages of a standard queue become visible again (ChangeMessageVisibility and its batch form). Any
receipt of a message works, also after its visibility timeout, as in SQS.

KEYS   1 meta     HASH    queue attributes
       2 store    HASH    member -> record
       3 inflight ZSET    member -> visible again (ms * 1000) + receives
       4 wakeups  LIST    wakeup token
       5 timer    STRING  who wakes a waiter at the next due time
ALSO   again:NAME backup wake:WAITER stats timeline
ARGV   1 now_us    "" = the server's clock
       2 total_ms  longest invisibility counted from the receive; 0 = no limit
       3... member, received_ms, visibility_ms per message
RETURN {status ...}: 1 changed, -2 no such message, -3 beyond total_ms
ERRORS QUEUE_NOT_FOUND
BOUND  2000 calls, 64 KiB
]]
return require("lib.idempotency").run(function()
  local meta, _, inflight = unpack(KEYS)
  local retention = redis.call("HGET", meta, "MessageRetentionPeriod")
  if not retention then
    return redis.error_reply("QUEUE_NOT_FOUND " .. meta)
  end
  local now_us, now = require("lib.clock")(ARGV[1], true)
  local now_ms, base = tonumber(now), string.match(meta, ".*:")
  local oldest = string.format("%d", now_ms - retention * 1000)
  local total_ms = tonumber(ARGV[2])
  local reply, earliest_ms, is_recorded = {}, nil, false

  for i = 3, #ARGV, 3 do
    local member, received_ms, visibility_ms = ARGV[i], tonumber(ARGV[i + 1]), tonumber(ARGV[i + 2])
    local is_marked = string.byte(member) == 126 -- lib/timeline.lua
    if is_marked then
      member = string.sub(member, 2)
    end
    local at = require("lib.find_in_flight")(base, member)
    local status = 1
    if not at or member < oldest and require("lib.message").is_expired(member, oldest) then
      status = -2
    elseif total_ms > 0 and now_ms + visibility_ms > received_ms + total_ms then
      status = -3
    else
      -- late, but never early; the count of receives stays (lib/score.lua)
      local visible_ms = visibility_ms > 0 and math.ceil(now_us / 1000) + visibility_ms or now_ms
      redis.call("ZADD", inflight, "XX", string.format("%d", visible_ms) .. string.sub(at, -3), member)
      if is_marked then
        require("lib.timeline").add(base, "x", member, visible_ms)
        is_recorded = true
      end
      earliest_ms = math.min(earliest_ms or visible_ms, visible_ms)
    end
    reply[#reply + 1] = status
  end

  if is_recorded then
    require("lib.timeline").write(now_ms)
  end
  require("lib.announce")(base, now_ms, earliest_ms and earliest_ms <= now_ms, earliest_ms)
  return reply
end)
