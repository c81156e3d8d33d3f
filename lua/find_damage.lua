--[[
Look for damage in one partition: settings, types of keys, members of sets and lists. Bounded work: it looks at
up to `limit` members of each.

KEYS   1 meta  HASH  queue attributes
ALSO   ready store group:NAME fair_ring available inflight state delayed postponed paused moved wakeups timer backup
       outbox handovers tags shards sources tasks chosen heartbeats consumers commands deleted stats history
       history_last history_hours timeline timeline_callers
ARGV   1 limit  how many members of each set and list are looked at, 100 at most
RETURN {looked, damage ...}: how many members were looked at; KEY, FIELD, FOUND and WANTED with tabs between them, as
       lib/damaged.lua tells them. No damage is told of a queue that does not exist
ERRORS QUEUE_DAMAGED
BOUND  1200 calls, 1 MiB
]]
local damaged = require("lib.damaged")
return damaged.find(KEYS[1], tonumber(ARGV[1]))
