-- Take a lock when a ticket of one's process is the oldest of all; otherwise keep one's place.
--
-- Who of a process comes first is known there: places may be taken in another order than they were
-- asked for (a lost request, a script that had to be sent again). Were only the oldest ticket itself
-- served, its owner might stand behind the one who asks, and neither would ever have the lock. Whose
-- ticket is passed over is given the place of the one that was served.
--
-- KEYS[1]  the lock: '<fence>:<token>'
-- KEYS[2]  the last fence
-- KEYS[3]  a ZSET of tickets, '<process>:<token>', by the order of their coming
-- KEYS[4]  a ZSET of the processes that wait, each with its deadline, server milliseconds
-- KEYS[5]  exists while somebody was refused; deleted at every release and by whoever leaves
-- KEYS[6]  a ZSET of who waits for a holder that is not fair, each with its deadline
-- ARGV[1]  the token
-- ARGV[2]  the lease, milliseconds
-- ARGV[3]  the fence's time to live, milliseconds
-- ARGV[4]  this process
-- ARGV[5]  how long it is taken to live without being heard of, milliseconds
-- ARGV[6]  '1' only if nobody waits, and without a ticket; 'q' take a ticket and nothing else
-- ARGV[7]  the longest time until it is asked again, milliseconds
--
-- RETURNS  > 0  the fence; the ticket is used up
--          < 0  not yet; milliseconds until asking again, negated
--
-- O(log n) in the tickets, and O(n) when a process that waited has died: its tickets go.
local held = redis.call('GET', KEYS[1])
if held and string.sub(held, -#ARGV[1]) == ARGV[1] then
  redis.call('PEXPIRE', KEYS[1], ARGV[2])
  return tonumber(string.sub(held, 1, -#ARGV[1] - 2))
end
local time = redis.call('TIME')
local us = time[1] * 1000000 + time[2]
local now = math.floor(us / 1000)
local ticket = ARGV[4] .. ':' .. ARGV[1]
local stamp = string.format('%.0f', now)
for _, dead in ipairs(redis.call('ZRANGEBYSCORE', KEYS[4], '-inf', stamp)) do
  if dead ~= ARGV[4] then
    for _, other in ipairs(redis.call('ZRANGE', KEYS[3], 0, -1)) do
      if string.sub(other, 1, #dead + 1) == dead .. ':' then
        redis.call('ZREM', KEYS[3], other)
      end
    end
    redis.call('ZREM', KEYS[4], dead)
  end
end
if ARGV[6] ~= '1' then
  redis.call('ZADD', KEYS[4], string.format('%.0f', now + ARGV[5]), ARGV[4])
  redis.call('PEXPIRE', KEYS[4], ARGV[5])
  if not redis.call('ZSCORE', KEYS[3], ticket) then
    local last = redis.call('ZRANGE', KEYS[3], -1, -1, 'WITHSCORES')[2]
    local place = us
    if last and tonumber(last) >= us then
      place = last + 1
    end
    redis.call('ZADD', KEYS[3], string.format('%.0f', place), ticket)
  end
  redis.call('PEXPIRE', KEYS[3], ARGV[5])
end
local first = redis.call('ZRANGE', KEYS[3], 0, 0)[1]
local ours = first and ARGV[6] ~= '1' and string.sub(first, 1, #ARGV[4] + 1) == ARGV[4] .. ':'
if held or ARGV[6] == 'q' or (first and not ours) then
  local left = tonumber(ARGV[7])
  if held then
    local holders = redis.call('PTTL', KEYS[1])
    if holders >= 0 then
      left = math.min(left, math.max(1, holders))
    end
  end
  if ARGV[6] ~= 'q' then
    redis.call('SET', KEYS[5], string.format('%.0f', us), 'PX', ARGV[5], 'NX')
  end
  if held and ARGV[6] == '' then -- those that are not fair take turns, and so let us in
    redis.call('ZADD', KEYS[6], string.format('%.0f', now + ARGV[5]), 'f' .. ARGV[4])
    if redis.call('PTTL', KEYS[6]) < tonumber(ARGV[5]) then
      redis.call('PEXPIRE', KEYS[6], ARGV[5])
    end
  end
  return -left
end
local fence = us
local last = tonumber(redis.call('GET', KEYS[2]) or 0)
if last and last >= fence then
  fence = last + 1
end
local text = string.format('%.0f', fence)
redis.call('SET', KEYS[2], text, 'PX', ARGV[3])
redis.call('SET', KEYS[1], text .. ':' .. ARGV[1], 'PX', ARGV[2])
if first and first ~= ticket then
  redis.call('ZADD', KEYS[3], redis.call('ZSCORE', KEYS[3], ticket), first)
end
redis.call('ZREM', KEYS[3], ticket)
redis.call('ZREM', KEYS[6], 'f' .. ARGV[4])
return fence
