-- Put a write mark, or prolong our part in it: nobody stores under it but its writer, on leaving.
--
-- KEYS[1]  the entry
-- ARGV[1]  the mark's first 25 bytes, without the overlap flag
-- ARGV[2]  the writer's token, 8 bytes
-- ARGV[3]  how long it counts without being renewed, milliseconds
-- ARGV[4]  '1': a renewal
--
-- RETURNS  0 marked by us alone; 1 marked, with the overlap flag: others have written meanwhile,
--          or may have
--
-- O(writers). Whatever else is there is replaced: values are about to be old, leases are revoked.
-- A renewal that finds us gone cannot know who wrote in between, so it leaves the overlap flag.
local key, head, token = KEYS[1], ARGV[1], ARGV[2]
local mark = mark_at(key)
local now, others, last, mine = living(mark, token)
local overlap = others ~= '' or (ARGV[4] == '1' and not mine)
if mine then
  overlap = overlap or string.byte(mark, 5) % 2 == 1
end
local ends = now + ARGV[3]
redis.call('SET', key,
  string.sub(head, 1, 4) .. (overlap and '\1' or '\0') .. string.sub(head, 6)
    .. others .. token .. string.format('%013.0f', ends),
  'PX', string.format('%.0f', math.max(last, ends) - now))
return overlap and 1 or 0
