-- Give up our own lease, and our place among those who wait for it. Safe to send again.
--
-- KEYS[1]  the lease
-- KEYS[2]  the ZSET of contenders that wait for it; left out: whether there are any is not asked
-- KEYS[3]  what is deleted to wake those of them who watch that; left out: nothing
-- ARGV[1]  our token
-- ARGV[2]  the contender that waits no longer; left out: none
--
-- RETURNS  1 released; 2 released, and others wait for it; 0 it was not ours any more
--
-- O(1), or O(log n) in the contenders.
if ARGV[2] then
  redis.call('ZREM', KEYS[2], ARGV[2])
end
local held = redis.call('GET', KEYS[1])
if held and string.sub(held, -#ARGV[1]) == ARGV[1] then
  redis.call('DEL', KEYS[1])
  if KEYS[2] and redis.call('EXISTS', KEYS[2]) == 1 then
    if KEYS[3] then
      redis.call('DEL', KEYS[3])
    end
    return 2
  end
  return 1
end
return 0
