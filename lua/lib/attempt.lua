--[[
ReceiveRequestAttemptId: a retry under the same id within five minutes gets the same messages and receipt handles, and
their visibility timeout begins anew, while none of them was touched since. `attempt:ID` keeps {expires, messages =
{member, score, history} ...} as JSON.
]]
local replay = require("lib.replay")
local score = require("lib.score")

local attempt = {}

local KEPT_MS = 300000

-- The messages {key, group, history, record ...} that the attempt was handed out, visible again at visible_ms from now
-- on; or nil.
function attempt.repeated(base, id, now_ms, visible_ms)
  local name, inflight = base .. "attempt:" .. id, base .. "inflight"
  local saved = redis.call("GET", name)
  local is_json, first = pcall(cjson.decode, saved or "")
  if not is_json or type(first) ~= "table" or type(first.messages) ~= "table"
    or (tonumber(first.expires) or 0) <= now_ms then
    return nil
  end
  local scores, members = {}, {}
  for i, m in ipairs(first.messages) do
    members[i] = m.member
  end
  local found = redis.call("ZMSCORE", inflight, unpack(members))
  for i, m in ipairs(first.messages) do
    if found[i] ~= m.score then
      return nil
    end
    m.score = score.at(m.score, visible_ms)
    scores[2 * i - 1], scores[2 * i] = m.score, m.member
  end
  redis.call("ZADD", inflight, unpack(scores))
  redis.call("SET", name, cjson.encode(first), "KEEPTTL")
  return replay.fifo_messages(base, first.messages, members, function(m)
    return m.history
  end)
end

-- Remember what this call hands out: {key, group, history, record ...} and {score, member ...}.
function attempt.save(base, id, now_ms, messages, scores)
  local now, kept = string.format("%d", now_ms), {}
  for i = 1, #scores, 2 do
    local history = messages[2 * i + 1]
    kept[#kept + 1] = {
      member = scores[i + 1],
      score = scores[i],
      history = history ~= "" and history or "1/" .. now .. "/" .. now,
    }
  end
  local saved = {expires = now_ms + KEPT_MS, messages = kept}
  redis.call("SET", base .. "attempt:" .. id, cjson.encode(saved), "PX", KEPT_MS)
end

return attempt
