-- Decide hits by every policy of their limiter, all or none, and count what is admitted.
--
-- Subjects (a user, an address, ...) whose hits are decided in one call: S; on a Cluster, one.
--
-- KEYS          B blocks for each subject: while one of them exists, everything is denied;
--               then P states for each subject, one of each policy
-- ARGV[1]       'hit': the whole cost or nothing; 'upto': what there is of it; 'peek': count nothing
-- ARGV[2], [3]  B, P
-- ARGV[4..]     four for each policy: kind (w window, b bucket, f fixed), limit, period in
--               microseconds, burst (of a bucket)
-- and then      for each subject one cost for each hit, negative where another of the same subject
--               follows; they are decided in this order, at one instant
--
-- RETURNS {now, and for each hit: why, amount, and for each policy: remaining, reset}
--   now        server time, microseconds
--   why        0 admitted; i > 0 denied, and policy i makes it wait longest; -1 blocked
--   amount     admitted: how much was counted; denied: microseconds until it would be, -1: never
--   remaining  what the policy would still admit, after this hit
--   reset      microseconds until the policy has forgotten everything, after this hit
--
-- All state is read before any is written: an error (WRONGTYPE) leaves everything as it was.
-- A denial writes nothing, except that a server clock found to have been set back is made good.
--
-- O(c) in the cost, and O(log n) in the n hits of a window, for those that have left it.
local mode, blocks, policies = ARGV[1], tonumber(ARGV[2]), tonumber(ARGV[3])
local rules = {}
for p = 1, policies do
  local kind = kinds[ARGV[4 * p]]
  rules[p] = { kind = kind, load = kind.load, limit = tonumber(ARGV[4 * p + 1]),
    period = tonumber(ARGV[4 * p + 2]), burst = tonumber(ARGV[4 * p + 3]) }
end

local reply, size, changed = { now }, 1, {}
local block, arg, last = 0, 4 * policies + 4, #ARGV
local key = #KEYS / (blocks + policies) * blocks
local any = call('EXISTS', (unpack or table.unpack)(KEYS, 1, key)) > 0
while arg <= last do
  local blocked
  for _ = 1, any and blocks or 0 do
    block = block + 1
    local left = call('PTTL', KEYS[block])
    if left ~= -2 and blocked ~= -1 then -- it ends within the millisecond after
      blocked = left == -1 and -1 or max(blocked or 0, left * 1000 + 1000)
    end
  end
  local states = {}
  for p = 1, policies do
    local rule = rules[p]
    key = key + 1
    states[p] = rule.load(KEYS[key], rule.limit, rule.period, rule.burst)
  end

  local more
  repeat
    local cost = tonumber(ARGV[arg])
    arg, more = arg + 1, cost < 0
    if more then cost = -cost end
    local why, amount = 0, cost
    if blocked then
      why, amount = -1, blocked
    else
      if mode == 'upto' then
        for p = 1, policies do amount = min(amount, states[p].room) end
        cost = max(1, amount)
        amount = cost
      end
      for p = 1, policies do
        local s = states[p]
        if cost > s.room then
          local wait = cost > s.most and -1 or rules[p].kind.wait(s, cost)
          if why == 0 or amount ~= -1 and (wait == -1 or wait > amount) then
            why, amount = p, wait
          end
        end
      end
      if why == 0 and mode ~= 'peek' then
        for p = 1, policies do
          local s = states[p]
          s.room, s.taken = s.room - cost, s.taken + cost
        end
      end
    end
    reply[size + 1], reply[size + 2] = why, amount
    size = size + 2
    for p = 1, policies do
      local s = states[p]
      reply[size + 1], reply[size + 2] = s.room > 0 and s.room or 0, rules[p].kind.reset(s)
      size = size + 2
    end
  until not more

  for p = 1, policies do
    local s = states[p]
    if s.taken > 0 or s.dirty then
      changed[#changed + 1], s.write = s, rules[p].kind.write
    end
  end
end
for i = 1, #changed do changed[i].write(changed[i]) end
return reply
