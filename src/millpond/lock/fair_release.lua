-- Give up a lock, or a place in line for it, and wake those who wait. Safe to send again.
--
-- KEYS[1]  the lock: '<fence>:<token>'
-- KEYS[2]  a ZSET of tickets, '<process>:<token>'
-- KEYS[3]  exists while somebody was refused
-- KEYS[4]  a ZSET of who waits for a holder that is not fair
-- ARGV[1]  the token
-- ARGV[2]  this process
--
-- RETURNS  1 the lock was given up; 0 it was not ours
--
-- O(log n) in the tickets.
redis.call('ZREM', KEYS[2], ARGV[2] .. ':' .. ARGV[1])
redis.call('DEL', KEYS[3])
redis.call('ZREM', KEYS[4], 'f' .. ARGV[2]) -- others of this process say so again
local held = redis.call('GET', KEYS[1])
if held and string.sub(held, -#ARGV[1]) == ARGV[1] then
  return redis.call('DEL', KEYS[1])
end
return 0
