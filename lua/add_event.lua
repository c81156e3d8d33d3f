#!lua flags=allow-oom
--[[
Add an event to the stream of a prefix: something was done to a queue, or happened to one.

The stream is bounded: by the number of its events, by their age, and by bytes. Each entry tells how many bytes were
ever added, so that the difference of the last one to the first one is what is there; if that is too much, the older
half goes.

KEYS   1 stream  STREAM  events, the oldest first
       2 about   STRING  stands for a while after an event of something that is told once
ARGV   1 now_us   "" = the server's clock
       2 once_ms  how long nothing more is told of what `about` names; "" = the event is of no such thing
       3... field, value of the event
RETURN id | "" it was told before
ERRORS -
BOUND  15 calls, 128 KiB
]]
return require("lib.idempotency").run(function()
  local stream, about = unpack(KEYS)
  local MOST, MOST_BYTES, KEPT_MS = "10000", 8388608, 1209600000 -- 14 days

  local function total(entries)
    local fields = entries[1] and entries[1][2] or {}
    for i = 1, #fields, 2 do
      if fields[i] == "total" then
        return tonumber(fields[i + 1]) or 0
      end
    end
    return 0
  end

  if ARGV[2] ~= "" and not redis.call("SET", about, "1", "NX", "PX", ARGV[2]) then
    return ""
  end
  local _, now_ms = require("lib.clock")(ARGV[1], true)
  local event, size = {unpack(ARGV, 3)}, 100
  for _, text in ipairs(event) do
    size = size + #text
  end
  local all = total(redis.call("XREVRANGE", stream, "+", "-", "COUNT", "1")) + size
  event[#event + 1], event[#event + 2] = "total", string.format("%.0f", all)
  local id = redis.pcall("XADD", stream, "MAXLEN", "~", MOST, now_ms .. "-*", unpack(event))
  if type(id) == "table" then -- the clock was put back
    id = redis.call("XADD", stream, "MAXLEN", "~", MOST, "*", unpack(event))
  end
  if all - total(redis.call("XRANGE", stream, "-", "+", "COUNT", "1")) > MOST_BYTES then
    redis.call("XTRIM", stream, "MAXLEN", math.floor(redis.call("XLEN", stream) / 2))
  end
  redis.call("XTRIM", stream, "MINID", "~", string.format("%.0f", tonumber(now_ms) - KEPT_MS))
  redis.call("PEXPIRE", stream, KEPT_MS)
  return id
end)
