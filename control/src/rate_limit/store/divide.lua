-- Divides one limit among the control planes that keep it together. Arithmetic as in share.rs, with control planes for
-- members; numbers in capitals come from there (see redis.rs). One call is one report and its answer, at once for all.
--
-- KEYS: the bucket; since when this store remembers.
-- ARGV: who reports; rate and capacity of the whole limit; rate and capacity that it holds ('' when it never held any);
--   number of the last answer it received; whether it holds no more than that answer said; its demand; tokens that it
--   gives back; whether it is learning what its proxies hold, and keeps all of that meanwhile.
--
-- A member is a line of numbers: answer, rate and capacity held, rate and capacity assigned, demand, last heard.

local id = 'm:' .. ARGV[1]
local rate, capacity = tonumber(ARGV[2]), tonumber(ARGV[3])
local held_rate, held_capacity = tonumber(ARGV[4]), tonumber(ARGV[5])
local received, fits = tonumber(ARGV[6]), ARGV[7] == '1'
local demand, returned = tonumber(ARGV[8]), tonumber(ARGV[9])
local keeps_all = ARGV[10] == '1'

local clock = redis.call('TIME')
local now = tonumber(clock[1]) + tonumber(clock[2]) / 1e6

-- A store that was emptied does not know what is given out. Who held something tells it, and until all had time to, nobody
-- is given more than it has.
local since = tonumber(redis.call('GET', KEYS[2]))
if not since then
  since = now
  redis.call('SET', KEYS[2], string.format('%.6f', since))
end
local is_learning = now - since < LEARNING

local pool, at = nil, now
local members, names = {}, {}
local stored = redis.call('HGETALL', KEYS[1])
for i = 1, #stored, 2 do
  local field, value = stored[i], stored[i + 1]
  if field == 'pool' then
    pool = tonumber(value)
  elseif field == 'at' then
    at = tonumber(value)
  else
    local n = {}
    for word in string.gmatch(value, '%S+') do
      n[#n + 1] = tonumber(word)
    end
    members[field] = {
      answer = n[1], held_rate = n[2], held_capacity = n[3], rate = n[4], capacity = n[5], demand = n[6], heard = n[7],
    }
    names[#names + 1] = field
  end
end
table.sort(names)

local function taken(what)
  local sum = 0
  for _, name in ipairs(names) do
    sum = sum + math.max(members[name]['held_' .. what], members[name][what])
  end
  return sum
end

local function settled(member)
  return member.held_rate == member.rate and member.held_capacity == member.capacity
end

-- The time that has passed.
if not pool then
  pool = (held_rate or is_learning) and 0 or capacity
end
pool = pool + math.max(rate - taken('rate'), 0) * math.max(now - at, 0)
for i = #names, 1, -1 do
  local name = names[i]
  if name ~= id and now - members[name].heard > LEASE then
    redis.call('HDEL', KEYS[1], name)
    members[name] = nil
    table.remove(names, i)
  end
end

-- The report.
local me = members[id]
if not me then
  me = {answer = received + 1, rate = held_rate or 0, capacity = held_capacity or 0}
  members[id] = me
  names[#names + 1] = id
  table.sort(names)
elseif not held_rate then
  -- It begins anew: what it was told it has never received, or has let go when all tokens were back.
  pool = pool + me.capacity
  me.answer, me.rate, me.capacity = math.max(me.answer, received) + 1, 0, 0
elseif keeps_all and (held_rate > me.rate or held_capacity > me.capacity) then
  me.answer = math.max(me.answer, received) + 1
  me.rate, me.capacity = math.max(held_rate, me.rate), math.max(held_capacity, me.capacity)
end
me.held_rate, me.held_capacity = held_rate or 0, held_capacity or 0
if fits and received == me.answer then
  me.held_rate, me.held_capacity = me.rate, me.capacity
end
me.demand, me.heard = demand, now
pool = math.min(pool + returned, math.max(capacity - taken('capacity'), 0))

-- Who is to have how much.
local function divide()
  local count, wanted = #names, 0
  local demands = {}
  for _, name in ipairs(names) do
    -- Who has demand reports every round.
    demands[name] = now - members[name].heard > SILENCE and 0 or members[name].demand
    wanted = wanted + demands[name]
  end
  local equal = (math.max(rate - wanted, 0) + FLOOR * rate) / count
  local total = wanted + equal * count
  local repaying = pool < 0 and 1 - REPAYMENT or 1
  local each = capacity >= count and 1 or 0
  local spread = capacity - each * count
  local targets, left, order = {}, capacity, {}
  for _, name in ipairs(names) do
    local part = (demands[name] + equal) / total
    local whole = each + math.floor(spread * part)
    targets[name] = {rate = rate * repaying * part, capacity = whole, rest = (spread * part) % 1}
    left = left - whole
    order[#order + 1] = name
  end
  -- Largest remainder first; equal ones by name, so that nothing moves without a reason.
  table.sort(order, function(a, b)
    if targets[a].rest ~= targets[b].rest then
      return targets[a].rest > targets[b].rest
    end
    return a < b
  end)
  for i = 1, math.min(left, #order) do
    targets[order[i]].capacity = targets[order[i]].capacity + 1
  end
  return targets
end

local changed = {[id] = true}
local function assign(name, new_rate, new_capacity)
  local member = members[name]
  member.rate, member.capacity, member.answer = new_rate, new_capacity, member.answer + 1
  changed[name] = true
end

local noise = rate * NOISE
if not is_learning and not keeps_all then
  local targets = divide()
  local starves = false
  for _, name in ipairs(names) do
    local member = members[name]
    if math.max(member.held_capacity, member.capacity) == 0 and targets[name].capacity > 0 then
      starves = true
    end
  end
  -- Decreases first. Small ones are left alone unless too much is given out.
  local over_rate = taken('rate') > rate * (1 + 1e-9)
  local over_capacity = taken('capacity') > capacity
  for _, name in ipairs(names) do
    local member, target = members[name], targets[name]
    if settled(member) then
      local less_rate = member.rate - target.rate > (over_rate and 0 or math.max(noise, member.rate * SLACK))
      local less = member.capacity - target.capacity
      local less_capacity = less >= math.max(math.floor(member.capacity / 4), 2)
        or ((starves or over_capacity) and less > 0)
      if less_rate or less_capacity then
        assign(name, less_rate and target.rate or member.rate, less_capacity and target.capacity or member.capacity)
      end
    end
  end
  -- What is free then is for who lacks something.
  local usable = pool < 0 and rate * (1 - REPAYMENT) or rate
  local free_rate, free_capacity = usable - taken('rate'), math.max(capacity - taken('capacity'), 0)
  local lacking = 0
  for _, name in ipairs(names) do
    if settled(members[name]) then
      lacking = lacking + math.max(targets[name].rate - members[name].rate, 0)
    end
  end
  local part = lacking > 0 and math.max(math.min(free_rate / lacking, 1), 0) or 0
  local order = {unpack(names)}
  table.sort(order, function(a, b)
    if targets[a].rate ~= targets[b].rate then
      return targets[a].rate > targets[b].rate
    end
    return a < b
  end)
  for _, name in ipairs(order) do
    local member, target = members[name], targets[name]
    if settled(member) then
      local more_rate = math.max(target.rate - member.rate, 0) * part
      local wanted = math.max(target.capacity - member.capacity, 0)
      local from_pool = math.min(wanted, math.floor(math.max(pool, 0)))
      local on_credit = member.capacity == 0 and math.min(wanted, CREDIT) or 0
      local more = math.min(math.max(from_pool, on_credit), free_capacity)
      if more_rate > noise or more > 0 then
        assign(name, member.rate + (more_rate > noise and more_rate or 0), member.capacity + more)
        free_capacity, pool = free_capacity - more, pool - more
      end
    end
  end
end

-- What is remembered, until it makes no difference: when all tokens are back and every lease has ended.
local fields = {'pool', string.format('%.17g', pool), 'at', string.format('%.6f', now)}
for name in pairs(changed) do
  local m = members[name]
  fields[#fields + 1] = name
  fields[#fields + 1] = string.format('%d %.17g %.17g %.17g %.17g %.17g %.6f', m.answer, m.held_rate, m.held_capacity,
    m.rate, m.capacity, m.demand, m.heard)
end
redis.call('HSET', KEYS[1], unpack(fields))
redis.call('PEXPIRE', KEYS[1], string.format('%.0f', 1000 * (2 * LEASE + math.min(capacity / rate, AGE_MAX))))

local others = 0
for _, name in ipairs(names) do
  if name ~= id then
    others = others + members[name].demand
  end
end
return {me.answer, string.format('%.17g', me.rate), me.capacity, others > DEMAND_MIN and 1 or 0}
