-- Give up a read/write lock, read or written, and a place among those who wait for it.
--
-- KEYS[1]  the writer: '<fence>:<token>'
-- KEYS[2]  a ZSET of readers' tokens, each with its deadline, server milliseconds
-- KEYS[3]  a ZSET of those who wait, 'r...' to read and 'w...' to write, each with its deadline
-- KEYS[4]  exists while it is the readers' turn
-- KEYS[5]  exists while somebody was refused
-- ARGV[1]  our token
-- ARGV[2]  who waits no longer: 'r...', 'w...'; '' nobody
-- ARGV[3]  the readers' turn after a writer, milliseconds
--
-- RETURNS  1 given up; 2 given up, and somebody waits; 0 it was not ours any more
--
-- O(log n) in readers, O(n) in waiters. Safe to send again.
local time = redis.call('TIME')
local now = time[1] * 1000 + math.floor(time[2] / 1000)
local gone = ARGV[2] ~= '' and redis.call('ZREM', KEYS[3], ARGV[2]) == 1
local ends = redis.call('ZSCORE', KEYS[2], ARGV[1])
local held = redis.call('GET', KEYS[1])
local ours = 0
if ends then
  redis.call('ZREM', KEYS[2], ARGV[1])
  ours = tonumber(ends) > now and 1 or 0
elseif held and string.sub(held, -#ARGV[1]) == ARGV[1] then
  ours = redis.call('DEL', KEYS[1])
  redis.call('ZREMRANGEBYSCORE', KEYS[3], '-inf', string.format('%.0f', now))
  for _, who in ipairs(redis.call('ZRANGE', KEYS[3], 0, -1)) do
    if string.sub(who, 1, 1) == 'r' then
      redis.call('SET', KEYS[4], '1', 'PX', ARGV[3])
      break
    end
  end
end
if ends or ours == 1 or gone then
  redis.call('DEL', KEYS[5])
end
if ours == 1 and redis.call('ZCARD', KEYS[3]) > 0 then
  return 2
end
return ours
