--[[
The errors about data that cannot be read: they were edited, or a restore was partial. To be required in a rare branch
only, before the first write. A script that needs a setting, and finds it missing or no number, replies
damaged.settings(meta).

A script that fails nevertheless (WRONGTYPE, arithmetic on garbage) is no bug if something is damaged: the client then
looks what it is.

The detail of QUEUE_DAMAGED is KEY, FIELD, FOUND and WANTED with tabs between them (errors.QueueDamaged.told).
]]
local damaged = {}

-- Text that an error reply can carry.
local function shown(text)
  if #text > 60 then
    text = string.sub(text, 1, 57) .. "..."
  end
  return (string.gsub(text, "[^\32-\126]", "?"))
end

local function refuse(key, field, found, wanted)
  return redis.error_reply("QUEUE_DAMAGED " .. shown(key) .. "\t" .. shown(field) .. "\t" .. found .. "\t" .. wanted)
end

-- The error that the field of a hash (or "" for the key itself) does not hold what is wanted; false = it is missing.
function damaged.value(key, field, value, wanted)
  return refuse(key, field, value and "holds '" .. shown(value) .. "'" or "is missing", wanted)
end

-- Is it a whole number of up to `digits` digits (nil = 9)?
function damaged.is_whole(value, digits)
  return value and #value <= (digits or 9) and string.find(value, "^%d+$") ~= nil
end

-- Numbers in `meta`, with how many digits they have at most: those that must be there, and others.
local needed = {VisibilityTimeout = 10, MessageRetentionPeriod = 10, MaximumMessageSize = 10, created_us = 16,
  modified_us = 16}
local possible = {DelaySeconds = 9, ReceiveMessageWaitTimeSeconds = 9, DeduplicationWindow = 9, max_receives = 9,
  Partitions = 9, dlq_missing_until = 16, ids_until = 16, longest_window = 16, purged_us = 16, emptied = 16, large = 12,
  last = 16, Timeline = 9}
-- Values of other forms.
local forms = {
  {"plain", "^%+?/?[%d:]* ?%d+$", "a whole number, and + or / with a topology in front of it"},
  {"sends", "^c?g?%+?/?[%d:]* ?%d+$", "a whole number, and c or g or what `plain` has in front of it"},
  {"quick", "^" .. string.rep("[ %d]", 20) .. "[%d:]*f?$", "two whole numbers in ten characters each, and a topology"},
  {"partition", "^%d+/%d+/?%d*$", "NUMBER/COUNT or NUMBER/COUNT/BEFORE"},
  {"partition_state", "^%d+/?%d*$", "COUNT or COUNT/BEFORE"},
  {"topology", "^%d+:%d+:?%d*$", "CREATED:COUNT:BEFORE"},
  {"grouped", "^-?%d+$", "a whole number"},
  {"tombstones", "^-?%d+$", "a whole number"},
  {"messages", "^-?%d+$", "a whole number"},
}

local function is_backoff(rule)
  for _, name in ipairs({"base", "cap"}) do
    local ms = rule[name]
    if ms ~= nil and (type(ms) ~= "number" or not (ms > 0 and ms <= 31536000000)) then
      return false
    end
  end
  return true
end

-- Is it what lib/retry.lua can use?
local function is_retry_policy(policy)
  if not is_backoff(policy) or policy.exceptions ~= nil and type(policy.exceptions) ~= "table" then
    return false
  end
  for _, rule in pairs(policy.exceptions or {}) do
    if rule ~= "dead" and (type(rule) ~= "table" or not is_backoff(rule)) then
      return false
    end
  end
  return true
end

local function is_redrive_policy(policy)
  return type(policy.deadLetterTargetArn) == "string"
end

-- The error reply about the first field of `meta` that is damaged; nil if none is, and if there is no queue.
function damaged.settings(meta)
  local kind = redis.call("TYPE", meta).ok
  if kind ~= "hash" then
    return kind ~= "none" and refuse(meta, "", "is a " .. kind, "a hash") or nil
  end
  local flat, have = redis.call("HGETALL", meta), {}
  for i = 1, #flat, 2 do
    have[flat[i]] = flat[i + 1]
  end
  for _, names in ipairs({needed, possible}) do
    for name, digits in pairs(names) do -- in any order
      local value = have[name] or false
      if not damaged.is_whole(value, digits) and (value or names == needed) then
        return damaged.value(meta, name, value, "a whole number of at most " .. digits .. " digits")
      end
    end
  end
  for _, form in ipairs(forms) do
    local name, pattern, wanted = unpack(form)
    if have[name] and not string.find(have[name], pattern) then
      return damaged.value(meta, name, have[name], wanted)
    end
  end
  if have.dlq and not have.max_receives then
    return damaged.value(meta, "max_receives", false, "a whole number, as there is a dead-letter queue")
  end
  for name, is_right in pairs({RetryPolicy = is_retry_policy, RedrivePolicy = is_redrive_policy}) do
    local is_json, found = pcall(cjson.decode, have[name] or "")
    if have[name] and not (is_json and type(found) == "table" and is_right(found)) then
      return damaged.value(meta, name, have[name], "such a policy, as JSON")
    end
  end
  return nil
end

-- The error reply if a receive could not use the settings: then nothing is sent either.
function damaged.for_receivers(meta)
  local visibility, retention, largest =
    unpack(redis.call("HMGET", meta, "VisibilityTimeout", "MessageRetentionPeriod", "MaximumMessageSize"))
  local is_fifo = string.find(meta, ".fifo:meta", 1, true)
  if not (damaged.is_whole(visibility, 10) and damaged.is_whole(retention, 10))
    or is_fifo and not damaged.is_whole(largest, 10) then
    return damaged.settings(meta)
  end
end

-- The types of all keys that are not named after something else.
local kinds = {
  list = {"ready", "wakeups", "outbox", "backup", "history", "timeline"},
  hash = {"store", "state", "stats", "tags", "tasks", "chosen", "consumers", "commands", "handovers", "history_hours",
    "timeline_callers"},
  zset = {"inflight", "delayed", "postponed", "available", "fair_ring", "heartbeats", "moved"},
  set = {"paused", "shards", "sources"},
  string = {"timer", "deleted", "history_last"},
}

local function is_type(key, wanted)
  local kind = redis.call("TYPE", key).ok
  return kind == wanted or kind == "none", kind
end

-- Keys of a FIFO queue beside its groups; those of either kind to which messages come from another queue.
local of_fifo = {available = "zset", inflight = "zset", state = "hash", delayed = "zset", postponed = "zset",
  paused = "set"}
local arrivals_fifo = {available = "zset", paused = "set"}
local arrivals = {ready = "list", fair_ring = "zset", paused = "set"}

local function first_of(base, types, list)
  for name, wanted in pairs(types) do
    local is_right, kind = is_type(base .. name, wanted)
    if not is_right then
      return refuse(base .. name, "", "is a " .. kind, "a " .. wanted)
    end
  end
  local is_right, kind = true, nil
  if list then
    is_right, kind = is_type(list, "list")
  end
  return not is_right and refuse(list, "", "is a " .. kind, "a list") or nil
end

-- The error that keys of another type would make later; nil if there is none. Who writes to many keys, and is not
-- called often, asks before the first write. Of a FIFO queue, with one of its groups:
function damaged.keys(base, group)
  return first_of(base, of_fifo, group and base .. "group:" .. group)
end

-- Of a queue to which a message goes from another one.
function damaged.arrivals(base, is_fifo, group)
  local list = group and group ~= "" and base .. "group:" .. group
  return first_of(base, is_fifo and arrivals_fifo or arrivals, list)
end

-- The error reply of what pcall() caught. error() would hide its code behind another one.
function damaged.caught(problem)
  return type(problem) == "table" and problem or redis.error_reply(problem)
end

-- Put back messages that were taken from the head of a list (id and more, record, ...) and cannot be kept. Returns the
-- error.
function damaged.put_back(list, taken, refused)
  for i = #taken - 1, 1, -2 do
    redis.call("LPUSH", list, taken[i + 1], string.sub(taken[i], 1, 24))
  end
  return refused
end

-- Give back FIFO groups (group, since ...) that were popped and cannot be read. Returns the error.
function damaged.give_back(available, popped, refused)
  local back = {}
  for i = 1, #popped, 2 do
    back[i], back[i + 1] = popped[i + 1], popped[i]
  end
  redis.call("ZADD", available, unpack(back))
  return refused
end

-- Take keys of wrong types away, so that a queue can be deleted.
function damaged.clear(base)
  for wanted, names in pairs(kinds) do
    for _, name in ipairs(names) do
      if not is_type(base .. name, wanted) then
        redis.call("UNLINK", base .. name)
      end
    end
  end
end

-- See find_damage.lua.
function damaged.find(meta, limit)
  local base, is_fifo, found = string.match(meta, ".*:"), string.find(meta, "%.fifo:meta$") ~= nil, {0}
  local function tell(refused)
    found[#found + 1] = string.sub(refused.err, #"QUEUE_DAMAGED " + 1)
  end
  if redis.call("EXISTS", meta) == 0 then
    return found
  end
  local refused = is_type(meta, "hash") and redis.call("HEXISTS", meta, "deleting") == 0 and damaged.settings(meta)
    or not is_type(meta, "hash") and damaged.settings(meta)
  if refused then
    tell(refused)
  end
  local usable = {}
  for wanted, names in pairs(kinds) do
    for _, name in ipairs(names) do
      local is_right, kind = is_type(base .. name, wanted)
      usable[name] = is_right
      if not is_right then
        tell(refuse(base .. name, "", "is a " .. kind, "a " .. wanted))
      end
    end
  end
  local function look(name, member, pattern, wanted)
    found[1] = found[1] + 1
    if not string.find(member, pattern) then
      tell(refuse(base .. name, member, "is no " .. wanted, ""))
    end
  end
  local function look_at_list(name, pattern, most)
    local is_right, kind = is_type(base .. name, "list")
    if not is_right then
      return tell(refuse(base .. name, "", "is a " .. kind, "a list"))
    end
    local length = redis.call("LLEN", base .. name)
    for i = 0, math.min(length, 2 * most) - 1, 2 do -- one by one: records may be large
      look(name, redis.call("LINDEX", base .. name, i), pattern, "message of rqsqs")
    end
    if length % 2 == 1 then
      tell(refuse(base .. name, "", "has an odd number of entries", "pairs of key and record"))
    end
  end
  local pattern = is_fifo and "^%d%d%d%d%d%d%d%d%d%d%d%d%d%d%d%d" or "^%d%d%d%d%d%d%d%d%d%d%d%d%d%d%d%d.....%d%d%d"
  for _, name in ipairs({"inflight", "delayed", "postponed"}) do
    local flat = usable[name] and redis.call("ZRANGE", base .. name, "0", limit - 1, "WITHSCORES") or {}
    for i = 1, #flat, 2 do
      look(name, flat[i], pattern, "message of rqsqs")
      if not string.find(flat[i + 1], "^%d+$") then
        tell(damaged.value(base .. name, flat[i], flat[i + 1], "a time"))
      end
    end
  end
  if usable.ready then
    look_at_list("ready", pattern, limit)
  end
  local groups = is_fifo and "available" or "fair_ring"
  for _, group in ipairs(usable[groups] and redis.call("ZRANGE", base .. groups, "0", limit - 1) or {}) do
    if group ~= "" then
      look_at_list("group:" .. group, pattern, 5)
    end
  end
  local counts = usable.stats and redis.call("HSCAN", base .. "stats", "0", "COUNT", limit)[2] or {}
  for i = 1, #counts, 2 do
    local name, value = counts[i], counts[i + 1]
    local is_signed = name == "crossed" or string.find(name, "_[ru]$")
    found[1] = found[1] + 1
    if #value > 19 or not string.find(value, is_signed and "^-?%d+$" or "^%d+$") then
      tell(damaged.value(base .. "stats", name, value, "a whole number"))
    end
  end
  for _, name in ipairs({"tasks", "consumers"}) do
    local flat = usable[name] and redis.call("HSCAN", base .. name, "0", "COUNT", limit)[2] or {}
    for i = 1, #flat, 2 do
      found[1] = found[1] + 1
      local is_json, value = pcall(cjson.decode, flat[i + 1])
      if not is_json or type(value) ~= "table" then
        tell(damaged.value(base .. name, flat[i], flat[i + 1], "a JSON object"))
      end
    end
  end
  return found
end

return damaged
