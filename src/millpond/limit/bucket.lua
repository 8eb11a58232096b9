-- The token bucket (GCRA): one number, what has been taken and has not flowed back yet.
--
-- State: 'time debt'. One hit is `period` of debt and `limit` of it drain in a microsecond: whole
-- numbers throughout, so that no fraction of a token is ever lost.
local function load(key, limit, period, burst)
  local at, debt = string.match(call('GET', key) or '', '^(%d+) (%d+)$')
  at, debt = tonumber(at or now), tonumber(debt or 0)
  debt = max(0, debt - max(0, now - at) * limit)
  return { key = key, limit = limit, period = period, most = burst, burst = burst, debt = debt,
    room = floor((burst * period - debt) / period), taken = 0, dirty = at > now }
end

local function wait(s, cost)
  return ceil((s.debt + (s.taken + cost - s.burst) * s.period) / s.limit)
end

local function reset(s) return ceil((s.debt + s.taken * s.period) / s.limit) end

local function write(s)
  local debt = s.debt + s.taken * s.period
  call('SET', s.key, whole(now) .. ' ' .. whole(debt), 'PX', lifetime(reset(s)))
end

kinds.b = { load = load, wait = wait, reset = reset, write = write }
