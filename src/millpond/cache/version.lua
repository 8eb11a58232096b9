-- Read a version, of a namespace or of a tag; make one where there is none, and keep it alive.
--
-- KEYS[1]  the version
-- ARGV[1]  what to put there if there is none: 12 random bytes, perhaps the server's run id
-- ARGV[2]  how long it is to live, milliseconds
-- ARGV[3]  bytes that are no version to the caller, as it has seen them; '' nothing was seen
--
-- RETURNS  the bytes that are there now; an error: WRONGTYPE
--
-- O(1). The time to live is extended below its half only: an extension pushes to who tracks the key.
local held = redis.pcall('GET', KEYS[1])
if type(held) == 'table' then
  return held
end
if not held or #held < 12 or held == ARGV[3] then
  redis.call('SET', KEYS[1], ARGV[1], 'PX', ARGV[2])
  return ARGV[1]
end
if redis.call('PTTL', KEYS[1]) < ARGV[2] / 2 then
  redis.call('PEXPIRE', KEYS[1], ARGV[2])
end
return held
