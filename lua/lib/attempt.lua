--[[
ReceiveRequestAttemptId: a retry under the same id within five minutes gets the same messages and receipt handles, and
their visibility timeout begins anew, while none of them was touched since. ARGV is that of receive_message_fifo.lua.
]]
return function(base, now_ms, deadline_ms)
  local name, inflight = base .. "attempt:" .. ARGV[9], base .. "inflight"
  local attempt = {}

  -- The reply of the first call again, or nil. Kept in the slot if the messages are visible at once, as a repetition
  -- would find them received by others, or dead.
  function attempt.repeated(slot, visibility, topology, now)
    local saved = redis.call("GET", name)
    local is_json, first = pcall(cjson.decode, saved or "")
    if not is_json or type(first) ~= "table" or type(first.messages) ~= "table"
      or (tonumber(first.expires) or 0) <= now_ms then
      return nil
    end
    local scores, reply, members, counts, lists = {}, {}, {}, {}, {}
    for i, m in ipairs(first.messages) do
      members[i] = m.stamp .. m.group
      counts[m.group] = (counts[m.group] or 0) + 1
    end
    local found = redis.call("ZMSCORE", inflight, unpack(members))
    for i, m in ipairs(first.messages) do
      if found[i] ~= m.score then
        return nil
      end
      m.score = deadline_ms .. string.sub(m.score, -3)
      scores[2 * i - 1], scores[2 * i] = m.score, members[i]
    end
    for _, m in ipairs(first.messages) do
      -- nothing that is not of this attempt stands in front of them
      local list = lists[m.group] or redis.call("LRANGE", base .. "group:" .. m.group, "0", 2 * counts[m.group] - 1)
      lists[m.group] = list
      for j = 1, #list, 2 do
        if string.sub(list[j], 1, 16) == m.stamp then
          for _, value in ipairs({list[j], m.group, m.history, list[j + 1]}) do
            reply[#reply + 1] = value
          end
        end
      end
    end
    redis.call("ZADD", inflight, unpack(scores))
    redis.call("SET", name, cjson.encode(first), "KEEPTTL")
    reply[#reply + 1] = topology
    reply[#reply + 1] = now
    if visibility == 0 then
      local packed = "=" .. cmsgpack.pack(reply)
      redis.call("SET", slot, (#packed > 8192 and "?" or packed) .. string.sub(ARGV[1], 1, 8), "PX",
        require("lib.idempotency").life(#ARGV[1] > 8))
    end
    return reply
  end

  -- Remember what this call hands out.
  function attempt.save(reply, scores)
    local now = string.format("%.0f", now_ms)
    local messages = {}
    for i = 1, #scores, 2 do
      local history = reply[(i - 1) / 2 * 4 + 3]
      messages[#messages + 1] = {
        stamp = string.sub(scores[i + 1], 1, 16),
        group = string.sub(scores[i + 1], 17),
        score = scores[i],
        history = history ~= "" and history or "1/" .. now .. "/" .. now,
      }
    end
    local saved = {expires = now_ms + 300000, messages = messages}
    redis.call("SET", name, cjson.encode(saved), "PX", "300000")
  end

  return attempt
end
