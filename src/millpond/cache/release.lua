-- Give up our own lease, so that the next reader need not wait for its end.
--
-- KEYS[1]  the entry
-- ARGV[1]  the lease's generation
--
-- RETURNS  1 removed; 0 it was not ours any more
local held = redis.pcall('GETRANGE', KEYS[1], 0, 24)
if type(held) ~= 'string' or string.sub(held, 1, 4) ~= '\137M\1l'
  or string.sub(held, 18, 25) ~= ARGV[1] then
  return 0
end
redis.call('DEL', KEYS[1])
return 1
