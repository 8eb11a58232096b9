-- Store a value over whatever is there: the last writer wins.
--
-- KEYS[1]  the entry
-- ARGV[1]  its bytes
-- ARGV[2]  its time to live, milliseconds
--
-- RETURNS  1 stored; 0 refused: a living write mark, or a value of a newer version of this cache
local held = redis.pcall('GETRANGE', KEYS[1], 0, 24)
if type(held) == 'string' and #held == 25 and string.sub(held, 1, 3) == '\137M\1' then
  local kind = string.sub(held, 4, 4)
  -- Numbers, not strings: those Lua compares by the server's locale.
  local there = string.byte(held, 6) * 256 + string.byte(held, 7)
  local ours = string.byte(ARGV[1], 6) * 256 + string.byte(ARGV[1], 7)
  if kind == 'v' and there > ours then
    return 0
  end
  if kind == 'w' then
    local _, writers = living(redis.call('GET', KEYS[1]), '')
    if writers ~= '' then
      return 0
    end
  end
end
redis.call('SET', KEYS[1], ARGV[1], 'PX', ARGV[2])
return 1
