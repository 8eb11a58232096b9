-- Change a version, of a namespace or of a tag: what was stored under the old one is no more.
--
-- KEYS[1]  the version
-- ARGV[1]  12 random bytes, never sent before
-- ARGV[2]  how long it is to live at least, milliseconds
-- ARGV[3]  the first byte to change, from 1
-- ARGV[4]  the last
--
-- RETURNS  1 changed; 0 the server had no memory for it: it was removed, which revokes more
--
-- O(1). Safe to send again, with other bytes. Where there was none all 12 are new.
local key, fresh, first, last, left = KEYS[1], ARGV[1], tonumber(ARGV[3]), tonumber(ARGV[4]), 0
local held = redis.pcall('GET', key)
if type(held) == 'string' and #held >= 12 then
  fresh = string.sub(held, 1, first - 1) .. string.sub(fresh, first, last)
    .. string.sub(held, last + 1)
  left = redis.call('PTTL', key)
end
local done = redis.pcall('SET', key, fresh, 'PX', string.format('%.0f', math.max(left, ARGV[2])))
if type(done) == 'table' and done.err then
  redis.call('DEL', key)
  return 0
end
return 1
