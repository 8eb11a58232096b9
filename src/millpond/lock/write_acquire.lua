-- Take the whole of a read/write lock. Safe to send again.
--
-- KEYS[1]  the writer: '<fence>:<token>'
-- KEYS[2]  a ZSET of readers' tokens, each with its deadline, server milliseconds
-- KEYS[3]  a ZSET of those who wait, 'r...' to read and 'w...' to write, each with its deadline
-- KEYS[4]  exists while it is the readers' turn
-- KEYS[5]  exists while somebody was refused; deleted at every release
-- KEYS[6]  the last fence
-- ARGV[1]  the token
-- ARGV[2]  its lease, milliseconds
-- ARGV[3]  who is marked as waiting when refused: 'w...'; '' nobody
-- ARGV[4]  how long that mark stays, milliseconds
-- ARGV[5]  '1' if it may have been marked before
-- ARGV[6]  the fence's time to live, milliseconds
--
-- RETURNS  > 0  the fence
--          < 0  a writer, readers, or the readers' turn; milliseconds until asking again, negated
--
-- O(log n) in readers and waiters, and O(m) in readers that ran out.
local time = redis.call('TIME')
local now = time[1] * 1000 + math.floor(time[2] / 1000)
local held = redis.call('GET', KEYS[1])
if held and string.sub(held, -#ARGV[1]) == ARGV[1] then
  redis.call('PEXPIRE', KEYS[1], ARGV[2])
  return tonumber(string.sub(held, 1, -#ARGV[1] - 2))
end
local left = 0
if held then
  left = math.max(1, redis.call('PTTL', KEYS[1]))
else
  redis.call('ZREMRANGEBYSCORE', KEYS[2], '-inf', string.format('%.0f', now))
  local last = redis.call('ZRANGE', KEYS[2], -1, -1, 'WITHSCORES')
  if last[2] then
    left = math.max(1, last[2] - now)
  else
    left = math.max(0, redis.call('PTTL', KEYS[4]))
  end
end
if left > 0 then
  if ARGV[3] ~= '' then
    redis.call('ZADD', KEYS[3], string.format('%.0f', now + ARGV[4]), ARGV[3])
    redis.call('PEXPIRE', KEYS[3], ARGV[4])
  end
  local moment = string.format('%.0f', time[1] * 1000000 + time[2])
  redis.call('SET', KEYS[5], moment, 'PX', string.format('%.0f', left), 'NX')
  return -left
end
local fence = time[1] * 1000000 + time[2]
local last = tonumber(redis.call('GET', KEYS[6]) or 0)
if last and last >= fence then
  fence = last + 1
end
local text = string.format('%.0f', fence)
redis.call('SET', KEYS[6], text, 'PX', ARGV[6])
redis.call('SET', KEYS[1], text .. ':' .. ARGV[1], 'PX', ARGV[2])
if ARGV[5] == '1' then
  redis.call('ZREM', KEYS[3], ARGV[3])
end
return fence
