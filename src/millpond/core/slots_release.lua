-- Give up our own slot, and wake whoever found none. Safe to send again.
--
-- KEYS[1]  a ZSET of tokens, each with its deadline, server milliseconds
-- KEYS[2]  exists while there was no slot for somebody
-- ARGV[1]  our token
--
-- RETURNS  1 given up; 0 it was not ours any more
--
-- O(log n) in the slots.
local ends = redis.call('ZSCORE', KEYS[1], ARGV[1])
if not ends then
  return 0
end
redis.call('ZREM', KEYS[1], ARGV[1])
redis.call('DEL', KEYS[2])
local time = redis.call('TIME')
return tonumber(ends) > time[1] * 1000 + math.floor(time[2] / 1000) and 1 or 0
