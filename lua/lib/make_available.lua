-- hot
-- Look at the head of a FIFO group and make the group available if the head can be received. Returns true if so, nil if
-- the group is empty. `turn` (us, "" = now): its head moves up from behind another one and lines up there, or when it
-- can be received, if that is later; a group that is available keeps its place then. The keys may be left out: it costs
-- as much as a third of a call to make a name. Who calls it has written something: a key of another type counts as
-- empty here, and later calls are refused because of it.
return function(base, group, turn, list, states)
  local try = redis.pcall
  local key = try("LINDEX", list or base .. "group:" .. group, "0")
  if type(key) ~= "string" then
    return nil
  end
  local stamp = string.sub(key, 1, 16) -- lib/fifo_key.lua
  local state = try("HGET", states or base .. "state", stamp)
  state = type(state) == "string" and state
  if state and type(try("ZSCORE", base .. "inflight", stamp .. group)) == "string" -- what is in flight has a state
    or try("SISMEMBER", base .. "paused", group) == 1 then
    return false
  end
  local since = stamp
  if key ~= stamp then
    local fifo_key = require("lib.fifo_key")
    if fifo_key.is_delayed(base, key, stamp .. group) then
      return false
    end
    since = fifo_key.available_us(key)
  end
  if state then
    since = string.match(state, "^%d+/%d+/(%d+)")
  end
  local available = base .. "available"
  if turn then
    turn = require("lib.clock")(turn)
    try("ZADD", available, "NX", turn > since and turn or since, group)
  else
    try("ZADD", available, since, group)
  end
  return true
end
