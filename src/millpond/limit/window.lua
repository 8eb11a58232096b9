-- The exact window: every hit that was admitted, as a stamp, until it has left the window.
--
-- State: 'w', base (7 bytes), start, count, capacity (3 each), last (6), then `capacity` stamps of
-- 6 bytes: a ring, of which `count` from `start` on are in use, oldest first. Stamps and `last` are
-- microseconds after `base`. Up to 64 stamps it is a plain list, start 0, written anew by one SET.
local byte, char, sub, rep = string.byte, string.char, string.sub, string.rep

local function six(x)
  return char(floor(x / 1099511627776), floor(x / 4294967296) % 256, floor(x / 16777216) % 256,
    floor(x / 65536) % 256, floor(x / 256) % 256, x % 256)
end

local function number(raw, at)
  local a, b, c, d, e, f = byte(raw, at, at + 5)
  return ((((a * 256 + b) * 256 + c) * 256 + d) * 256 + e) * 256 + f
end

-- The i-th oldest stamp, from 0; those that this call adds come last.
local function stamp(s, i)
  if i >= s.count then return s.at end
  local place = 23 + 6 * ((s.start + i) % s.capacity)
  if place + 6 <= #s.raw then return number(s.raw, place + 1) end
  return number(call('GETRANGE', s.key, place, place + 5), 1)
end

-- How many of the oldest have left, when some have and the newest has not.
local function departed(s, edge)
  local left, live, step = 0, s.count - 1, 1
  while left + step < live and stamp(s, left + step) <= edge do
    left, step = left + step, step * 2
  end
  if left + step < live then live = left + step end
  while live - left > 1 do
    local middle = floor((left + live) / 2)
    if stamp(s, middle) <= edge then left = middle else live = middle end
  end
  return live
end

local function load(key, limit, period)
  local raw = call('GETRANGE', key, 0, 406)
  local kind, b1, b2, b3, b4, b5, b6, b7, s1, s2, s3, n1, n2, n3, c1, c2, c3,
    l1, l2, l3, l4, l5, l6 = byte(raw, 1, 23)
  local start, count, capacity = 0, 0, -1
  if kind == 119 and l6 then
    start, count = (s1 * 256 + s2) * 256 + s3, (n1 * 256 + n2) * 256 + n3
    capacity = (c1 * 256 + c2) * 256 + c3
  end
  if start > max(0, capacity - 1) or count > capacity or #raw ~= 23 + 6 * min(64, capacity) then
    -- nothing, or nothing of ours
    return { key = key, limit = limit, period = period, most = limit, room = limit, taken = 0,
      raw = '', base = now, start = 0, count = 0, capacity = 0, last = -period, at = 0, gone = 0,
      dirty = false }
  end
  local base = (((((b1 * 256 + b2) * 256 + b3) * 256 + b4) * 256 + b5) * 256 + b6) * 256 + b7
  local last, dirty = ((((l1 * 256 + l2) * 256 + l3) * 256 + l4) * 256 + l5) * 256 + l6, false
  if base + last > now then -- the clock was set back: the newest hit is now, not in the future
    base, dirty = now - last, true
  end
  local s = { key = key, limit = limit, period = period, most = limit, room = 0, taken = 0,
    raw = raw, base = base, start = start, count = count, capacity = capacity, last = last,
    at = now - base, gone = 0, dirty = dirty }
  local edge = s.at - period -- stamps up to here have left
  if last <= edge then
    s.gone = s.count
  elseif stamp(s, 0) <= edge then
    s.gone = departed(s, edge)
  end
  s.room = limit - s.count + s.gone
  return s
end

-- When will `cost` fit? When so many of the oldest have left.
local function wait(s, cost)
  return stamp(s, s.gone + cost - s.room - 1) + s.period - s.at
end

local function reset(s)
  if s.taken > 0 then return s.period end
  return max(0, s.last + s.period - s.at)
end

-- The bytes of the stamps that are still in the window, oldest first.
local function live(s)
  local size, from = s.count - s.gone, (s.start + s.gone) % max(1, s.capacity)
  local first = min(size, s.capacity - from)
  local bytes = ''
  if first > 0 then bytes = call('GETRANGE', s.key, 23 + 6 * from, 22 + 6 * (from + first)) end
  if size > first then
    bytes = bytes .. call('GETRANGE', s.key, 23, 22 + 6 * (size - first))
  end
  return bytes
end

local function head(base, start, count, capacity, last)
  local function three(x) return char(floor(x / 65536), floor(x / 256) % 256, x % 256) end
  return char(119, floor(base / 281474976710656)) .. six(base % 281474976710656)
    .. three(start) .. three(count) .. three(capacity) .. six(last)
end

local ttls = {} -- of hits that were just admitted, by period

local function write(s)
  local added, count = s.taken, s.count - s.gone + s.taken
  local new, ttl = six(s.at)
  if added > 0 then
    s.last, ttl = s.at, ttls[s.period] or lifetime(s.period)
    ttls[s.period] = ttl
  else
    ttl = lifetime(reset(s))
  end
  local late = s.at >= 2 ^ 47 -- 4.4 years after the base: half of what 6 bytes hold
  if late then
    local shift, parts, bytes = s.at - s.period, {}, live(s)
    for i = 1, #bytes, 6 do parts[#parts + 1] = six(number(bytes, i) - shift) end
    new = six(s.period)
    call('SET', s.key, head(s.base + shift, 0, count, count, s.last - shift)
      .. table.concat(parts) .. rep(new, added), 'PX', ttl)
  elseif count <= 64 and s.capacity <= 64 then -- nearly every write: a list
    local front
    if s.dirty or s.capacity == 0 then
      front = head(s.base, 0, count, count, s.last)
    else
      front = sub(s.raw, 1, 8) .. char(0, 0, 0, 0, 0, count, 0, 0, count) .. new
    end
    call('SET', s.key, front .. sub(s.raw, 24 + 6 * s.gone, 23 + 6 * s.count)
      .. (added == 1 and new or rep(new, added)), 'PX', ttl)
  elseif count > s.capacity then -- a larger ring
    local capacity = max(count, min(2 * s.capacity, s.limit))
    call('SET', s.key, head(s.base, 0, count, capacity, s.last) .. live(s) .. rep(new, added)
      .. rep('\0', 6 * (capacity - count)), 'PX', ttl)
  else
    local from = (s.start + s.count) % s.capacity
    local first = min(added, s.capacity - from)
    if first > 0 then call('SETRANGE', s.key, 23 + 6 * from, rep(new, first)) end
    if added > first then call('SETRANGE', s.key, 23, rep(new, added - first)) end
    local start = (s.start + s.gone) % s.capacity
    call('SETRANGE', s.key, 0, head(s.base, start, count, s.capacity, s.last))
    call('PEXPIRE', s.key, ttl)
  end
end

kinds.w = { load = load, wait = wait, reset = reset, write = write }
