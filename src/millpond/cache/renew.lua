-- Prolong our own claim. It is never made again: a lease that is gone stays gone.
--
-- KEYS[1]  the entry
-- ARGV[1]  the claim's generation
-- ARGV[2]  its time to live from now, milliseconds
--
-- RETURNS  1 prolonged; 0 it is not ours any more
local held = redis.pcall('GETRANGE', KEYS[1], 0, 24)
if type(held) ~= 'string' or string.sub(held, 1, 4) ~= '\137M\1l'
  or string.sub(held, 18, 25) ~= ARGV[1] then
  local head = soft_at(KEYS[1])
  if not claimed_by(head, ARGV[1]) then
    return 0
  end
  local done = claim_soft(KEYS[1], head, ARGV[1], tonumber(ARGV[2]))
  return type(done) == 'table' and done or 1
end
redis.call('PEXPIRE', KEYS[1], ARGV[2])
return 1
