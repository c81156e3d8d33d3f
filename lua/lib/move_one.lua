--[[
Moving one chosen message of a dead-letter queue (redrive of single messages): what `due` of the cancel scripts may ask
for, ">DESTINATION BATCH TAIL PLACE". DESTINATION is a queue name, "" = the message's own source. Within the hash slot
it is there at once; to another slot it goes into the outbox as hand-over BATCH (take_messages.lua), if there is one.
TAIL is 8 characters, unique to the call; PLACE is from where on an unsorted list is searched.
]]
local deadletter = require("lib.deadletter")
local timeline = require("lib.timeline")
local transfer = require("lib.transfer")

return function(base, is_fifo, now_us, due)
  local destination, batch, tail, place = string.match(due, "^>(%S*) (%S*) (%S+) (%d+)$")
  local elsewhere = transfer.elsewhere(base, is_fifo, destination)
  local outbox, target = base .. "outbox", nil
  local move = {place = tonumber(place)}

  -- The reply of the script if the message cannot go yet: -2 an earlier hand-over has to be finished first,
  -- "no_source", or the name of the queue that is in another slot. Nothing has been changed then.
  function move.refusal(source, group)
    if redis.call("EXISTS", outbox) == 1 then
      return -2
    end
    local name = elsewhere(source, group)
    if not name then
      target = deadletter.base(base, destination ~= "" and destination or source)
    elseif batch == "" or name == "no_source" then
      return name
    end
    return nil
  end

  -- The message has been taken out, and counted as moved: 1 it is there, 2 it is in the outbox.
  function move.go(key, group, record, past)
    if target then
      local new_key = transfer.put(target, is_fifo, now_us, tail, group, record)
      require("lib.counting").add(target, {moved_in = 1})
      timeline.moved(base, target, key, new_key)
      timeline.write(math.floor(now_us / 1000))
      return 1
    end
    timeline.add(base, "m", key, timeline.queue(base), destination, "", ">")
    timeline.write(math.floor(now_us / 1000))
    redis.call("RPUSH", outbox, batch, destination, key, group, record, past)
    return 2
  end

  return move
end
