-- Prolong our own slot. It is never taken again: one that ran out is another's to have.
--
-- KEYS[1]  a ZSET of tokens, each with its deadline, server milliseconds
-- ARGV[1]  our token
-- ARGV[2]  the lease from now, milliseconds
--
-- RETURNS  1 prolonged; 0 it is not ours any more
--
-- O(log n) in the slots.
local time = redis.call('TIME')
local now = time[1] * 1000 + math.floor(time[2] / 1000)
local ends = redis.call('ZSCORE', KEYS[1], ARGV[1])
if not ends or tonumber(ends) <= now then
  return 0
end
redis.call('ZADD', KEYS[1], string.format('%.0f', now + ARGV[2]), ARGV[1])
if redis.call('PTTL', KEYS[1]) < tonumber(ARGV[2]) then
  redis.call('PEXPIRE', KEYS[1], ARGV[2])
end
return 1
