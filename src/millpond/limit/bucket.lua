-- The token bucket (GCRA): one number, what has been taken and has not flowed back yet.
--
-- State: 'time debt since'. One hit is `period` of debt and `limit` of it drain in a microsecond:
-- whole numbers throughout, so that no fraction of a token is ever lost. `since` is when it was
-- last full: what was taken before has flowed back, and is not to be given back again.
local function load(key, limit, period, burst)
  local at, debt, since = string.match(call('GET', key) or '', '^(%d+) (%d+) (%d+)$')
  at, debt, since = tonumber(at or now), tonumber(debt or 0), tonumber(since or now)
  debt = max(0, debt - max(0, now - at) * limit)
  return { key = key, limit = limit, period = period, most = burst, burst = burst, debt = debt,
    since = debt == 0 and now or min(since, now), room = floor((burst * period - debt) / period),
    taken = 0, dirty = at > now }
end

local function wait(s, cost)
  return ceil((s.debt + (s.taken + cost - s.burst) * s.period) / s.limit)
end

local function reset(s) return ceil((s.debt + s.taken * s.period) / s.limit) end

local function write(s)
  local debt = s.debt + s.taken * s.period
  call('SET', s.key, whole(now) .. ' ' .. whole(debt) .. ' ' .. whole(s.since), 'PX',
    lifetime(reset(s)))
end

kinds.b = { load = load, wait = wait, reset = reset, write = write }
