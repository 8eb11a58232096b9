-- Remove whatever is under a key, and with it every right to store there.
--
-- KEYS[1]  the entry
--
-- RETURNS  1 removed, or a living write mark given the overlap flag; 0 there was nothing;
--          2 the server had no memory for the flag: the mark was removed
--
-- O(1), or O(n) in another program's structure. Safe to send again.
local key = KEYS[1]
local mark = mark_at(key)
if mark ~= '' then
  local now, writers, last = living(mark, '')
  if writers ~= '' then
    local left = redis.pcall('SET', key,
      string.sub(mark, 1, 4) .. '\1' .. string.sub(mark, 6, 25) .. writers,
      'PX', string.format('%.0f', last - now))
    if not (type(left) == 'table' and left.err) then
      return 1
    end
    redis.call('DEL', key)
    return 2
  end
end
return redis.call('DEL', key)
