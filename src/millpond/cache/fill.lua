-- Replace our own lease, or the value that we claimed in place, by what was loaded, and nothing else.
--
-- KEYS[1]  the entry
-- ARGV[1]  the claim's generation
-- ARGV[2]  the entry's new bytes, of the same generation
-- ARGV[3]  its time to live, milliseconds
--
-- RETURNS  1 stored; 0 the claim was revoked: deleted, replaced, evicted or expired
--
-- O(1). GETRANGE reads no more than a header has, however large the entry is. An error never takes
-- the place of a value.
local held = redis.pcall('GETRANGE', KEYS[1], 0, 24)
if type(held) ~= 'string' or string.sub(held, 1, 4) ~= '\137M\1l'
  or string.sub(held, 18, 25) ~= ARGV[1] then
  if string.sub(ARGV[2], 4, 4) ~= 'v' or not claimed_by(soft_at(KEYS[1]), ARGV[1]) then
    return 0
  end
end
redis.call('SET', KEYS[1], ARGV[2], 'PX', ARGV[3])
return 1
