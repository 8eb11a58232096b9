-- Give a value a new time to live.
--
-- KEYS[1]  the entry
-- ARGV[1]  bytes 6 to 17 of this cache's entries: version, fingerprint and era
-- ARGV[2]  the new time to live, milliseconds
-- ARGV[3]  of that, how long before it is stale, where it can be served stale
--
-- RETURNS  1; 0 there is no value of this cache, or a stale one. That somebody has expired it would be
--          undone by a new time to live.
local held = redis.pcall('GETRANGE', KEYS[1], 0, 16)
if type(held) ~= 'string' or string.sub(held, 1, 4) ~= '\137M\1v'
  or string.sub(held, 6, 17) ~= ARGV[1] then
  return 0
end
local head = soft_at(KEYS[1])
if head ~= '' then
  local old = age(head)
  if old >= number(string.sub(head, 34, 37)) then
    return 0
  end
  redis.call('SETRANGE', KEYS[1], 33, u32(old + ARGV[3]))
end
return redis.call('PEXPIRE', KEYS[1], ARGV[2])
