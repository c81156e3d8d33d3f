-- Walks through sets of message groups, a few steps at a time: a place is the score and the name of the last member
-- that was met, so that what comes and goes in front of it shifts nothing. Score and name "" are the beginning.
local paging = {}

-- As ZSETs order names of equal scores: byte by byte, whatever the server's locale is.
local function less(a, b)
  for i = 1, math.min(#a, #b) do
    local x, y = string.byte(a, i), string.byte(b, i)
    if x ~= y then
      return x < y
    end
  end
  return #a < #b
end

-- The rank behind a place.
local function behind(zset, score, name)
  if score == "" then
    return 0
  elseif redis.call("ZSCORE", zset, name) == score then
    return redis.call("ZRANK", zset, name) + 1
  end
  local low = redis.call("ZCOUNT", zset, "-inf", "(" .. score)
  local high = low + redis.call("ZCOUNT", zset, score, score)
  while low < high do -- it has left: bisect among its equals
    local middle = math.floor((low + high) / 2)
    if less(name, redis.call("ZRANGE", zset, middle, middle)[1]) then
      high = middle
    else
      low = middle + 1
    end
  end
  return low
end

-- Call step(name, score) for the members of a ZSET behind a place, until it returns false. Returns true at the end.
function paging.zset(zset, score, name, step)
  local rank = behind(zset, score, name)
  while true do
    local found = redis.call("ZRANGE", zset, rank, rank + 99, "WITHSCORES")
    for i = 1, #found, 2 do
      if not step(found[i], found[i + 1]) then
        return false
      end
    end
    if #found < 200 then
      return true
    end
    rank = rank + 100
  end
end

-- The same from the end on, for the members in front of a place; those with scores up to `lowest` are left out.
function paging.zset_backwards(zset, score, name, lowest, step)
  local first = lowest == "-inf" and 0 or redis.call("ZCOUNT", zset, "-inf", lowest)
  local rank = redis.call("ZCARD", zset) - 1
  if score ~= "" then
    local is_there = redis.call("ZSCORE", zset, name) == score
    rank = behind(zset, score, name) - (is_there and 2 or 1)
  end
  while rank >= first do
    local from = math.max(rank - 99, first)
    local found = redis.call("ZRANGE", zset, from, rank, "WITHSCORES")
    for i = #found - 1, 1, -2 do
      if not step(found[i], found[i + 1]) then
        return false
      end
    end
    rank = from - 1
  end
  return true
end

-- The same for a SET, whose members have the score "".
function paging.set(set, name, step)
  local members = redis.call("SMEMBERS", set)
  table.sort(members, less)
  for _, member in ipairs(members) do
    if less(name, member) and not step(member, "") then
      return false
    end
  end
  return true
end

return paging
