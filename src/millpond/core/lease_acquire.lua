-- Take a lease, or learn how long another's still lasts. Safe to send again.
--
-- KEYS[1]  the lease: '<fence>:<token>'
-- KEYS[2]  the fence of the last lease
-- KEYS[3]  a ZSET of contenders that wait for it, each with its deadline, server milliseconds
-- ARGV[1]  the token: of one acquisition, always of one length
-- ARGV[2]  the lease's time to live, milliseconds
-- ARGV[3]  the contender to be marked as waiting while another holds; left out: none
-- ARGV[4]  '1' if that contender may have been marked before; left out: it was not
--
-- FENCE_TTL, MARK_TTL: milliseconds for which a fence outlives its lease, and a mark stays
--
-- RETURNS  > 0  the fence: taken now, or by an earlier run of this very call and now prolonged
--          < 0  another's; its milliseconds, negated
--          0    another's, without an end
--
-- O(1), or O(log n) in the contenders. The fence is max(previous + 1, server time in microseconds):
-- it rises past a clock that steps back and past a fence key that was lost, only not past both.
local held = redis.call('GET', KEYS[1])
if held then
  if string.sub(held, -#ARGV[1]) == ARGV[1] then
    redis.call('PEXPIRE', KEYS[1], ARGV[2])
    return tonumber(string.sub(held, 1, -#ARGV[1] - 2))
  end
  if ARGV[3] then
    local time = redis.call('TIME')
    local until_ms = time[1] * 1000 + math.floor(time[2] / 1000) + MARK_TTL
    redis.call('ZADD', KEYS[3], string.format('%.0f', until_ms), ARGV[3])
    redis.call('PEXPIRE', KEYS[3], MARK_TTL)
  end
  local left = redis.call('PTTL', KEYS[1])
  if left < 0 then
    return 0
  end
  return -math.max(left, 1)
end
local time = redis.call('TIME')
local fence = time[1] * 1000000 + time[2]
local last = tonumber(redis.call('GET', KEYS[2]) or 0)
if last and last >= fence then
  fence = last + 1
end
local text = string.format('%.0f', fence)
redis.call('SET', KEYS[2], text, 'PX', string.format('%.0f', ARGV[2] + FENCE_TTL))
redis.call('SET', KEYS[1], text .. ':' .. ARGV[1], 'PX', ARGV[2])
if ARGV[4] == '1' then
  redis.call('ZREM', KEYS[3], ARGV[3])
end
return fence
