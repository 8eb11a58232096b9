-- The fixed window: a count that begins anew at every multiple of the period.
--
-- State: 'start count since': when the window began, and when the first hit of it was counted.
local function load(key, limit, period)
  local start = now - now % period
  local from, count, since = string.match(call('GET', key) or '', '^(%d+) (%d+) (%d+)$')
  from, count, since = tonumber(from or 0), tonumber(count or 0), tonumber(since or now)
  if from < start then count, since = 0, now end
  -- From a later window: the clock was set back, and what was counted counts in this one.
  return { key = key, limit = limit, period = period, most = limit, start = start, count = count,
    since = min(since, now), room = limit - count, taken = 0, dirty = from > start }
end

local function wait(s) return s.start + s.period - now end

local function reset(s) return s.count + s.taken > 0 and s.start + s.period - now or 0 end

local function write(s)
  call('SET', s.key, whole(s.start) .. ' ' .. whole(s.count + s.taken) .. ' ' .. whole(s.since),
    'PX', lifetime(s.start + s.period - now))
end

kinds.f = { load = load, wait = wait, reset = reset, write = write }
