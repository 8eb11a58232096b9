-- Take a share of a read/write lock. Safe to send again.
--
-- KEYS[1]  the writer: '<fence>:<token>'
-- KEYS[2]  a ZSET of readers' tokens, each with its deadline, server milliseconds
-- KEYS[3]  a ZSET of those who wait, 'r...' to read and 'w...' to write, each with its deadline
-- KEYS[4]  exists while it is the readers' turn
-- KEYS[5]  exists while somebody was refused; deleted at every release
-- ARGV[1]  the token
-- ARGV[2]  its lease, milliseconds
-- ARGV[3]  who is marked as waiting when refused: 'r...'; '' nobody
-- ARGV[4]  how long that mark stays, milliseconds
-- ARGV[5]  '1' if it may have been marked before
--
-- RETURNS  1    ours
--          < 0  a writer has it, or waits for it; milliseconds until asking again, negated
--
-- O(log n) in readers and waiters. A writer that waits bars new readers, so that readers who take
-- turns cannot keep it out for ever; after each writer it is the waiting readers' turn.
local time = redis.call('TIME')
local now = time[1] * 1000 + math.floor(time[2] / 1000)
local stamp = string.format('%.0f', now)
local ends = redis.call('ZSCORE', KEYS[2], ARGV[1])
if not ends or tonumber(ends) <= now then
  local left = 0
  if redis.call('EXISTS', KEYS[1]) == 1 then
    left = math.max(1, redis.call('PTTL', KEYS[1]))
  elseif redis.call('EXISTS', KEYS[4]) == 0 then
    redis.call('ZREMRANGEBYSCORE', KEYS[3], '-inf', stamp)
    for _, who in ipairs(redis.call('ZRANGE', KEYS[3], 0, -1)) do
      if string.sub(who, 1, 1) == 'w' then
        left = math.max(left, redis.call('ZSCORE', KEYS[3], who) - now)
      end
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
end
redis.call('ZADD', KEYS[2], string.format('%.0f', now + ARGV[2]), ARGV[1])
if redis.call('PTTL', KEYS[2]) < tonumber(ARGV[2]) then
  redis.call('PEXPIRE', KEYS[2], ARGV[2])
end
if ARGV[5] == '1' then
  redis.call('ZREM', KEYS[3], ARGV[3])
end
return 1
