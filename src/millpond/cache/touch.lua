-- Tell how long a value has left, or give it a new time to live.
--
-- KEYS[1]  the entry
-- ARGV[1]  bytes 6 to 11 of this cache's entries: version and fingerprint
-- ARGV[2]  the new time to live, milliseconds; '' to leave it
-- ARGV[3]  of that, how long before it is stale, where it can be served stale
--
-- RETURNS  milliseconds left, -1 for ever; -2 there is no value of this cache
local held = redis.pcall('GETRANGE', KEYS[1], 0, 10)
if type(held) ~= 'string' or string.sub(held, 1, 4) ~= '\137M\1v'
  or string.sub(held, 6, 11) ~= ARGV[1] then
  return -2
end
if ARGV[2] ~= '' then
  local head = soft_at(KEYS[1])
  if head ~= '' then
    redis.call('SETRANGE', KEYS[1], 33, u32(age(head) + ARGV[3]))
  end
  redis.call('PEXPIRE', KEYS[1], ARGV[2])
end
return redis.call('PTTL', KEYS[1])
