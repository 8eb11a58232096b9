-- End a writer's part in a write mark: delete, or store its value if nobody can have interfered.
--
-- KEYS[1]  the entry
-- ARGV[1]  the writer's token
-- ARGV[2]  the entry's new bytes; '' to delete
-- ARGV[3]  its time to live, milliseconds
--
-- RETURNS  1 stored; 0 removed, or left to the other writers, with the overlap flag
--
-- O(writers), or O(n) in another program's structure. Stored only under a mark that is ours alone,
-- never lapsed, and without the overlap flag. A server without memory removes in any case.
local key, token = KEYS[1], ARGV[1]
local mark = mark_at(key)
local now, others, last, mine = living(mark, token)
if others ~= '' then
  local left = redis.pcall('SET', key,
    string.sub(mark, 1, 4) .. '\1' .. string.sub(mark, 6, 25) .. others,
    'PX', string.format('%.0f', last - now))
  if not (type(left) == 'table' and left.err) then
    return 0
  end
elseif mine and string.byte(mark, 5) % 2 == 0 and ARGV[2] ~= '' then
  local stored = redis.pcall('SET', key, ARGV[2], 'PX', ARGV[3])
  if not (type(stored) == 'table' and stored.err) then
    return 1
  end
end
redis.call('DEL', key)
return 0
