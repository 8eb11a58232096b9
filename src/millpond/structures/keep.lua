-- Keep what a run has left behind, and end its lease. Safe to send again.
--
-- KEYS[1]  the run's lease: '<fence>:<fingerprint>:<token>'
-- KEYS[2]  the fence of the last run
-- KEYS[3]  what a run that has ended left behind: '<fingerprint>:<token>' and more
-- ARGV[1]  '<fingerprint>:<token>' of this run
-- ARGV[2]  its fence
-- ARGV[3]  what it leaves behind
-- ARGV[4]  the time to live of that, milliseconds
-- ARGV[5]  for how long fences are remembered, milliseconds
--
-- RETURNS  1  kept, now or by an earlier run of this very call
--          0  not: another run has begun since, or the server has forgotten this one
--
-- O(1). A lease that ran out is no reason to forget what was done, while nobody has begun anew:
-- then the last fence is still this run's. It need not be remembered beside what bars every run
-- for as long.
local held = redis.call('GET', KEYS[1])
if not held or string.sub(held, -#ARGV[1]) ~= ARGV[1] then
  local done = redis.call('GET', KEYS[3])
  if done and string.sub(done, 1, #ARGV[1]) == ARGV[1] then
    return 1
  end
  if held or done or redis.call('GET', KEYS[2]) ~= ARGV[2] then
    return 0
  end
end
redis.call('SET', KEYS[3], ARGV[3], 'PX', ARGV[4])
redis.call('DEL', KEYS[1])
if tonumber(ARGV[4]) >= tonumber(ARGV[5]) then
  redis.call('DEL', KEYS[2])
end
return 1
