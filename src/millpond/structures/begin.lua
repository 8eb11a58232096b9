-- Begin a run, unless it has been done, or another does it. Safe to send again.
--
-- KEYS[1]  the run's lease: '<fence>:<fingerprint>:<token>'
-- KEYS[2]  the fence of the last run
-- KEYS[3]  what a run that has ended left behind
-- ARGV[1]  '<fingerprint>:<token>': of what is asked for, and of this call; of one length each
-- ARGV[2]  the lease, milliseconds
-- ARGV[3]  the fence's time to live, milliseconds
-- ARGV[4]  the fingerprint's length
--
-- RETURNS  {1, fence}                     ours: begun now, or by an earlier run of this very call
--          {2, what was left behind}      it has been done
--          {3, milliseconds, fingerprint} another does it, for so long unless it is renewed
--
-- O(1). The fence is max(previous + 1, server time in microseconds), as that of a lock.
local held = redis.call('GET', KEYS[1])
if held and string.sub(held, -#ARGV[1]) == ARGV[1] then
  redis.call('PEXPIRE', KEYS[1], ARGV[2])
  return {1, tonumber(string.sub(held, 1, -#ARGV[1] - 2))}
end
local done = redis.call('GET', KEYS[3])
if done then
  return {2, done}
end
if held then
  local from = string.find(held, ':', 1, true) + 1
  local whose = string.sub(held, from, from + ARGV[4] - 1)
  return {3, math.max(1, redis.call('PTTL', KEYS[1])), whose}
end
local time = redis.call('TIME')
local fence = time[1] * 1000000 + time[2]
local last = tonumber(redis.call('GET', KEYS[2]) or 0)
if last and last >= fence then
  fence = last + 1
end
local text = string.format('%.0f', fence)
redis.call('SET', KEYS[2], text, 'PX', ARGV[3])
redis.call('SET', KEYS[1], text .. ':' .. ARGV[1], 'PX', ARGV[2])
return {1, fence}
