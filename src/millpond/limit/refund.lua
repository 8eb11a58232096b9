-- Give back what one decision has counted, as far as it still counts.
--
-- KEYS      the state of one policy each
-- ARGV[1]   when it was counted: the `now` of that decision, microseconds
-- ARGV[2]   how much
-- ARGV[3..] four for each policy, as for deciding
--
-- RETURNS   to how many of the policies something was given back
--
-- Window: exactly that decision's stamps are removed, wherever they stand. Stamps of one
-- microsecond are alike, so it does not matter which of them go. O(n) in the hits of the window.
-- Bucket: what was taken flows back, to full at most, unless the bucket has been full since.
-- Fixed: only while its window lasts. What was counted before a reset is not in either any more.
local when, cost, given = tonumber(ARGV[1]), tonumber(ARGV[2]), 0

local function from_window(key, limit, period)
  local s = kinds.w.load(key, limit, period)
  local target, low, high = when - s.base, s.gone, s.count
  while low < high do -- the first stamp that is not older
    local middle = floor((low + high) / 2)
    if stamp(s, middle) < target then low = middle + 1 else high = middle end
  end
  local found = 0
  while found < cost and low + found < s.count and stamp(s, low + found) == target do
    found = found + 1
  end
  if found == 0 then return 0 end
  local bytes, before = live(s), 6 * (low - s.gone)
  bytes = sub(bytes, 1, before) .. sub(bytes, before + 6 * found + 1)
  local count = #bytes / 6
  if count == 0 then
    call('DEL', key)
  else
    local last = number(bytes, #bytes - 5)
    call('SET', key, head(s.base, 0, count, count, last) .. bytes, 'PX',
      lifetime(last + period - s.at))
  end
  return 1
end

local function from_bucket(key, limit, period, burst)
  local s = kinds.b.load(key, limit, period, burst)
  if s.debt == 0 or when < s.since then return 0 end
  s.debt = s.debt - cost * period
  if s.debt <= 0 then call('DEL', key) else kinds.b.write(s) end
  return 1
end

local function from_fixed(key, limit, period)
  local s = kinds.f.load(key, limit, period)
  if s.count == 0 or when < max(s.start, s.since) then return 0 end
  s.count = s.count - cost
  if s.count <= 0 then call('DEL', key) else kinds.f.write(s) end
  return 1
end

local refunds = { w = from_window, b = from_bucket, f = from_fixed }
for i = 1, #KEYS do
  local at = 4 * i - 1
  given = given + refunds[ARGV[at]](KEYS[i], tonumber(ARGV[at + 1]), tonumber(ARGV[at + 2]),
    tonumber(ARGV[at + 3]))
end
return given
