-- Give up our own claim, so that the next reader need not wait for its end.
--
-- KEYS[1]  the entry
-- ARGV[1]  the claim's generation
--
-- RETURNS  1 the lease was removed, or the value left to others; 0 it was not ours any more
local held = redis.pcall('GETRANGE', KEYS[1], 0, 24)
if type(held) ~= 'string' or string.sub(held, 1, 4) ~= '\137M\1l'
  or string.sub(held, 18, 25) ~= ARGV[1] then
  local head = soft_at(KEYS[1])
  if not claimed_by(head, ARGV[1]) then
    return 0
  end
  local done = put(KEYS[1], head, ARGV[1], string.sub(head, 34, 37), 0, false)
  return type(done) == 'table' and done or 1
end
redis.call('DEL', KEYS[1])
return 1
