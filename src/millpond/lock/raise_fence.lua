-- Raise a node's fence to the highest of a quorum, under our own lock there.
--
-- KEYS[1]  the lock: '<fence>:<token>'
-- KEYS[2]  the last fence
-- ARGV[1]  our token
-- ARGV[2]  the fence
-- ARGV[3]  the fence's time to live, milliseconds
--
-- RETURNS  1 raised, or as high already; 0 the lock is not ours on this node
--
-- O(1). Safe to send again. The lock's time to live stays as it is.
local held = redis.call('GET', KEYS[1])
if not held or string.sub(held, -#ARGV[1]) ~= ARGV[1] then
  return 0
end
local last = tonumber(redis.call('GET', KEYS[2]) or 0)
if not last or last < tonumber(ARGV[2]) then
  redis.call('SET', KEYS[2], ARGV[2], 'PX', ARGV[3])
end
redis.call('SET', KEYS[1], ARGV[2] .. ':' .. ARGV[1], 'KEEPTTL')
return 1
