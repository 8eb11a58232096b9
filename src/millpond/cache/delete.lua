-- Remove whatever is under a key, and with it every right to store there.
--
-- KEYS[1]  the entry
--
-- RETURNS  1 removed; 0 there was nothing
--
-- O(1), or O(n) in another program's structure. Safe to send again.
return redis.call('DEL', KEYS[1])
