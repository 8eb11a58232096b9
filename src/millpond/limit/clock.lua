-- What every kind of policy needs; the script is this, the kinds in use, and what is to be done.
local call, floor, ceil, max, min = redis.call, math.floor, math.ceil, math.max, math.min
local clock = call('TIME')
local now, kinds = clock[1] * 1000000 + clock[2], {}

local function whole(x) return string.format('%.0f', x) end

-- Milliseconds, a little longer than the state matters: PX counts from a clock in milliseconds.
local function lifetime(us) return whole(ceil(us / 1000) + 2) end
