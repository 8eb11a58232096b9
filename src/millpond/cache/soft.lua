-- What every script needs that may meet a value which can be served stale; it stands before theirs.
--
-- Such a value (flag 16) can be claimed where it is: its generation becomes the claimer's, and bytes
-- 38-41 say until when, in milliseconds after it was created. The value stays readable. With flag 32
-- nobody has it: the last load has failed, and those bytes say when to try again.
--
-- Deadlines are set by this server's clock, by which all of them are compared. Where it is so far
-- behind that of whoever stored the value that a deadline would come before the value, it is 1: the
-- claim is noted, but keeps nobody out.
local function number(bytes)
  local sum = 0
  for at = 1, #bytes do
    sum = sum * 256 + string.byte(bytes, at)
  end
  return sum
end

local function u32(number)
  local rest = math.min(math.max(number, 0), 4294967295)
  local bytes = {}
  for at = 4, 1, -1 do
    bytes[at] = string.char(rest % 256)
    rest = math.floor(rest / 256)
  end
  return table.concat(bytes)
end

-- The header's first 41 bytes, if a value that can be served stale is there; otherwise ''.
local function soft_at(key)
  local head = redis.pcall('GETRANGE', key, 0, 40)
  if type(head) == 'string' and #head == 41 and string.sub(head, 1, 4) == '\137M\1v'
    and math.floor(string.byte(head, 5) / 16) % 2 == 1 then
    return head
  end
  return ''
end

local function failed(head)
  return math.floor(string.byte(head, 5) / 32) % 2 == 1
end

-- Milliseconds after it was created.
local function age(head)
  local clock = redis.call('TIME')
  return clock[1] * 1000 + math.floor(clock[2] / 1000) - number(string.sub(head, 26, 31))
end

-- How many milliseconds somebody's claim of it still counts; 0: nobody's does.
local function claimed_for(head)
  local ends = number(string.sub(head, 38, 41))
  if ends <= 1 or failed(head) then
    return 0
  end
  return math.max(0, ends - age(head))
end

-- Whether this generation has claimed it; also past the deadline, while nobody else has.
local function claimed_by(head, generation)
  return head ~= '' and string.sub(head, 18, 25) == generation and not failed(head)
    and number(string.sub(head, 38, 41)) > 0
end

-- Write generation, soft expiry (4 bytes), deadline and failure into its header; returns an error,
-- as a table, where the server has no memory.
local function put(key, head, generation, soft, ends, failure)
  local flags = string.byte(head, 5)
  if failed(head) then
    flags = flags - 32
  end
  return redis.pcall('SETRANGE', key, 4, string.char(failure and flags + 32 or flags)
    .. string.sub(head, 6, 17) .. generation .. string.sub(head, 26, 33) .. soft .. u32(ends))
end

-- Claim it, or prolong the claim, for so many milliseconds; it is there at least for as long. Returns
-- as `put`.
local function claim_soft(key, head, generation, ms)
  local ends = math.max(1, age(head) + ms)
  local done = put(key, head, generation, string.sub(head, 34, 37), ends, false)
  if type(done) == 'table' then
    return done
  end
  local left = redis.call('PTTL', key)
  if left >= 0 and left < ms then
    redis.call('PEXPIRE', key, string.format('%.0f', ms))
  end
  return done
end
