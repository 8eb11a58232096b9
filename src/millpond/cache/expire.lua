-- Make a value stale now, and revoke whatever load of it is under way.
--
-- It stands before `delete.lua`, which removes what is no value that can be served stale. It removes
-- such a value, too, where the server has no memory to write to it, or a clock so far behind that the
-- value has no age yet, and could not be said to be past anything.
--
-- KEYS[1]  the entry
-- ARGV[1]  its new generation: 8 random bytes, others whenever this is sent
--
-- RETURNS  1 stale now, or as `delete.lua`
--
-- O(1), or O(n) in another program's structure. Safe to run again. Under one generation there is
-- never more than one value: who has claimed by it, or fallen back on it, has seen that value.
local head = soft_at(KEYS[1])
if head ~= '' and age(head) >= 0 then
  local soft = math.min(age(head), number(string.sub(head, 34, 37)))
  local done = put(KEYS[1], head, ARGV[1], u32(soft), 0, false)
  if type(done) ~= 'table' then
    return 1
  end
end
