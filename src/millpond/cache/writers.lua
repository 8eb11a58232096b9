-- What every script needs that may meet a write mark; it stands before theirs.
--
-- A mark has the 25 bytes of a lease, but the kind 'w' and the flag 1 for overlap; then for each
-- writer 8 bytes of token and 13 digits, its deadline in milliseconds of this server's clock. Past
-- it a writer has lapsed and counts no more, whether its bytes are still there or not; a mark whose
-- writers have all lapsed is dead, and whatever may replace nothing may replace it.
local function mark_at(key)
  if redis.pcall('GETRANGE', key, 0, 3) == '\137M\1w' then
    return redis.call('GET', key)
  end
  return ''
end

-- The time; the living writers other than `token`, as bytes; the last of their deadlines; whether
-- `token` is among the living.
local function living(mark, token)
  local clock = redis.call('TIME')
  local now = clock[1] * 1000 + math.floor(clock[2] / 1000)
  local others, last, mine = {}, 0, false
  for at = 26, #mark - 20, 21 do
    local digits = string.match(string.sub(mark, at + 8, at + 20), '^%d+$')
    local ends = digits and tonumber(digits) or 0
    if ends > now and string.sub(mark, at, at + 7) == token then
      mine = true
    elseif ends > now then
      others[#others + 1] = string.sub(mark, at, at + 20)
      last = math.max(last, ends)
    end
  end
  return now, table.concat(others), last, mine
end
