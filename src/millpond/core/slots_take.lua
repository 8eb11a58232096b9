-- Take one of so many slots, each leased by itself. Safe to send again.
--
-- KEYS[1]  a ZSET of tokens, each with its deadline, server milliseconds
-- KEYS[2]  exists while there was no slot for somebody; deleted when one becomes free
-- ARGV[1]  the token, of one acquisition
-- ARGV[2]  the slot's lease, milliseconds
-- ARGV[3]  how many slots there are
--
-- RETURNS  1    ours, for so long from now
--          < 0  none is free; milliseconds until the first may be, negated
--
-- O(log n) in the slots, and O(m) in those that ran out. Each call may name another number of
-- slots: whoever has one keeps it.
local time = redis.call('TIME')
local now = time[1] * 1000 + math.floor(time[2] / 1000)
redis.call('ZREMRANGEBYSCORE', KEYS[1], '-inf', string.format('%.0f', now))
if not redis.call('ZSCORE', KEYS[1], ARGV[1]) then
  local over = redis.call('ZCARD', KEYS[1]) - ARGV[3]
  if over >= 0 then
    local ends = redis.call('ZRANGE', KEYS[1], over, over, 'WITHSCORES')[2]
    local left = math.max(1, ends - now)
    local moment = string.format('%.0f', time[1] * 1000000 + time[2])
    redis.call('SET', KEYS[2], moment, 'PX', string.format('%.0f', left), 'NX')
    return -left
  end
end
redis.call('ZADD', KEYS[1], string.format('%.0f', now + ARGV[2]), ARGV[1])
if redis.call('PTTL', KEYS[1]) < tonumber(ARGV[2]) then
  redis.call('PEXPIRE', KEYS[1], ARGV[2])
end
return 1
