-- Give up our claim of a value whose load has failed: it stays, and nobody tries again for a while.
--
-- KEYS[1]  the entry
-- ARGV[1]  the claim's generation
-- ARGV[2]  milliseconds until the next try
--
-- RETURNS  1 noted; 0 it was not ours any more: deleted, replaced, evicted or expired
local head = soft_at(KEYS[1])
if not claimed_by(head, ARGV[1]) then
  return 0
end
local ends = math.max(1, age(head) + ARGV[2])
local done = put(KEYS[1], head, ARGV[1], string.sub(head, 34, 37), ends, true)
return type(done) == 'table' and done or 1
