-- Claim a key: put a lease, if there is nothing, or still exactly what the reader judged dead; or
-- claim a value that may be served stale where it is, so that it stays readable.
--
-- KEYS[1]  the entry
-- ARGV[1]  the lease: 25 bytes, its generation in 18-25
-- ARGV[2]  the lease's time to live, milliseconds
-- ARGV[3]  what was seen: '' nothing, 'g' an entry by its generation, 'b' foreign bytes, all of
--          them, 's' a value to be claimed in place, by its generation
-- ARGV[4]  that generation, or those bytes
--
-- RETURNS  {1}                claimed, now or by an earlier run of this very call: a lease is there
--          {2}                the same, in place: the value is there
--          {0, bytes, pttl}   what is there instead, and its milliseconds (-1: for ever); with
--                             's', where another has claimed it in place, as a fourth for how long
--          an error           WRONGTYPE: somebody else's structure, which is left alone
--
-- O(1), or O(n) in the foreign bytes. A live lease and a living write mark are never replaced; a
-- mark whose writers have all lapsed is nobody's.
local key, lease = KEYS[1], ARGV[1]
local mine, claimed = string.sub(lease, 18, 25), 0
if ARGV[3] == 's' then
  local head = soft_at(key)
  if claimed_by(head, mine) then
    return {2}
  end
  if head ~= '' then
    claimed = claimed_for(head)
    if claimed == 0 and string.sub(head, 18, 25) == ARGV[4] then
      local done = claim_soft(key, head, mine, tonumber(ARGV[2]))
      return type(done) == 'table' and done or {2}
    end
  end
end
local held = redis.pcall('GET', key)
if type(held) == 'table' then
  return held
end
if held then
  local ours = string.sub(held, 1, 3) == '\137M\1' and #held >= 25
  local generation = ours and string.sub(held, 18, 25)
  if generation == mine then
    return {1}
  end
  local kind = ours and string.sub(held, 4, 4)
  local lease_here = kind == 'l' and #held == 25 and string.byte(held, 5) == 0
  local left = redis.call('PTTL', key)
  -- A lease without an end (somebody's PERSIST, a RESTORE) is nobody's: its holder renews with one.
  local alive = lease_here and left >= 0
  local seen = lease_here and left < 0
  if ARGV[3] == 'g' then
    seen = ours and generation == ARGV[4]
  elseif ARGV[3] == 'b' then
    seen = held == ARGV[4]
  end
  if kind == 'w' then
    local _, writers = living(held, '')
    alive = writers ~= ''
    seen = not alive
  end
  if alive or not seen then
    if claimed > 0 then
      return {0, held, left, claimed}
    end
    return {0, held, left}
  end
end
redis.call('SET', key, lease, 'PX', ARGV[2])
return {1}
