-- Make a value stale now, and revoke whatever load of it is under way.
--
-- It stands before `delete.lua`, which removes what is no value that can be served stale. It removes
-- such a value, too, where the server has no memory to write to it, or a clock so far behind that the
-- value has no age yet, and could not be said to be past anything.
--
-- KEYS[1]  the entry
-- ARGV[1]  8 random bytes
--
-- RETURNS  1 stale now, or as `delete.lua`
--
-- O(1), or O(n) in another program's structure. Safe to send again. The new generation is made of
-- the old one, byte by byte, so that two runs never give one generation to two values.
local head = soft_at(KEYS[1])
if head ~= '' and age(head) >= 0 then
  local generation = {}
  for at = 1, 8 do
    local sum = string.byte(head, 17 + at) + string.byte(ARGV[1], at)
    generation[at] = string.char(sum % 256)
  end
  local soft = math.min(age(head), number(string.sub(head, 34, 37)))
  local done = put(KEYS[1], head, table.concat(generation), u32(soft), 0, false)
  if type(done) ~= 'table' then
    return 1
  end
end
