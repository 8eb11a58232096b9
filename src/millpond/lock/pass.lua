-- Pass our lock on to the next in this process, in one step, unless another process's turn has come.
--
-- KEYS[1]  the lock: '<fence>:<token>'
-- KEYS[2]  the last fence
-- KEYS[3]  a ZSET of the processes that wait, each with its deadline, server milliseconds
-- KEYS[4]  exists while somebody in a fair line was refused
-- ARGV[1]  our token
-- ARGV[2]  the next one's token
-- ARGV[3]  the next one's lease, milliseconds
-- ARGV[4]  the fence's time to live, milliseconds
-- ARGV[5]  '1' if this process has had its turn: whoever else waits comes first
--
-- RETURNS  > 0  the next one's fence: the lock is its own, under its own token
--          0    released, and free for the processes that wait
--          -1   it was not ours any more; nothing was done
--
-- O(log n) in the processes that wait, or O(1) while the turn lasts.
local held = redis.call('GET', KEYS[1])
if not held or string.sub(held, -#ARGV[1]) ~= ARGV[1] then
  return -1
end
local time = redis.call('TIME')
if ARGV[5] == '1' then
  local now = string.format('%.0f', time[1] * 1000 + math.floor(time[2] / 1000))
  redis.call('ZREMRANGEBYSCORE', KEYS[3], '-inf', now)
  if redis.call('ZCARD', KEYS[3]) > 0 then
    redis.call('DEL', KEYS[1], KEYS[4])
    return 0
  end
end
local fence = time[1] * 1000000 + time[2]
local last = tonumber(redis.call('GET', KEYS[2]) or 0)
if last and last >= fence then
  fence = last + 1
end
local text = string.format('%.0f', fence)
redis.call('SET', KEYS[2], text, 'PX', ARGV[4])
redis.call('SET', KEYS[1], text .. ':' .. ARGV[2], 'PX', ARGV[3])
return fence
