-- Prolong our own lease. It is never made again: one that is gone stays gone.
--
-- KEYS[1]  the lease
-- KEYS[2]  its fence, which must outlive a lease however long that is held
-- ARGV[1]  our token
-- ARGV[2]  its time to live from now, milliseconds
-- ARGV[3]  the fence's time to live from now, milliseconds
--
-- RETURNS  1 prolonged; 0 it is not ours any more
--
-- O(1).
local held = redis.call('GET', KEYS[1])
if held and string.sub(held, -#ARGV[1]) == ARGV[1] then
  redis.call('PEXPIRE', KEYS[2], ARGV[3])
  return redis.call('PEXPIRE', KEYS[1], ARGV[2])
end
return 0
