-- windows.lua: the arithmetic of the four windows; put in front of every script (a prelude, not a script).
--
-- Mirrors gateway/budgets/windows.py operation by operation: same names, same order, IEEE doubles.
-- A bucket is a string value holding a cmsgpack array of numbers (leases: a sorted set, member = reservation,
-- score = expiry). All times are microseconds since the epoch on this server's clock; amounts are whole
-- steps of the budget's unit. A line describes a bucket: {code, limit, capacity, size_us, shadow, amount, floor}.

local function server_now_us()
  local time = redis.call('TIME')
  return tonumber(time[1]) * 1000000 + tonumber(time[2])
end

local SLICES, DAY_US, HOLD_US, LEASE_WAIT_US, NEVER, SLACK = 12, 86400000000, 30000000, 1000000, -1, 1e-6
local SLIDING, BUCKET, DAY, MONTH, LEASE = 1, 2, 3, 4, 5
local CODE, LIMIT, CAPACITY, SIZE, SHADOW, AMOUNT, FLOOR = 1, 2, 3, 4, 5, 6, 7
local RESERVED, SETTLED, ABANDONED = 0, 1, 2
local RECORD_MS, DONE_MS = 86400000, 300000
local floor, ceil, max, min = math.floor, math.ceil, math.max, math.min

local function month_bounds(now_us)
  local days = floor(now_us / DAY_US) + 719468
  local era = floor(days / 146097)
  local doe = days - era * 146097
  local yoe = floor((doe - floor(doe / 1460) + floor(doe / 36524) - floor(doe / 146096)) / 365)
  local doy = doe - (365 * yoe + floor(yoe / 4) - floor(yoe / 100))
  local mp = floor((5 * doy + 2) / 153)
  local first = days - 719468 - (doy - floor((153 * mp + 2) / 5))
  local year, month = yoe + era * 400, mp + 3
  if mp >= 10 then year, month = year + 1, mp - 9 end
  local length = 31
  if month == 2 then
    length = (year % 4 == 0 and (year % 100 ~= 0 or year % 400 == 0)) and 29 or 28
  elseif month == 4 or month == 6 or month == 9 or month == 11 then
    length = 30
  end
  return first * DAY_US, (first + length) * DAY_US
end

local month_start, month_end = 0, 0

local function period(line, now_us)
  if line[CODE] == MONTH then
    if now_us < month_start or now_us >= month_end then month_start, month_end = month_bounds(now_us) end
    return month_start, month_end
  end
  local start = floor(now_us / DAY_US) * DAY_US
  return start, start + DAY_US
end

local function rate(line) return max(1, line[LIMIT]) / line[SIZE] end

-- `packed` is what MGET said of the key. It says nothing of a value that is no bucket, which GET refuses.
local function load_state(key, packed)
  packed = packed or redis.call('GET', key)
  return packed and cmsgpack.unpack(packed) or nil
end

local function fresh(line)
  if line[CODE] == SLIDING then return {0} end
  return {0, 0}
end

local function slide(line, state, now_us)
  local oldest = floor(now_us / line[SIZE]) - SLICES
  local gone = 1
  while state[gone + 1] and state[gone + 1] < oldest do
    state[1] = state[1] - state[gone + 2]
    gone = gone + 2
  end
  if gone > 1 then
    local size = #state
    for i = 2, size do state[i] = state[i + gone - 1] end
  end
  return state[1]
end

local function used(line, state, now_us)
  local code = line[CODE]
  if code == SLIDING then return slide(line, state, now_us) end
  if code == BUCKET then return max(0, state[1] - max(0, now_us - state[2]) * rate(line)) end
  local start = period(line, now_us)
  if state[1] < start then state[1], state[2] = start, 0 end
  return state[2]
end

local function gone_us(line, state, position) return (state[position] + SLICES + 1) * line[SIZE] end

local function room_in_us(line, state, now_us, excess)
  local code = line[CODE]
  if code == BUCKET then return max(1, ceil(excess / rate(line))) end
  if code == SLIDING then
    local position = 2
    while excess > state[position + 1] and state[position + 2] do
      excess = excess - state[position + 1]
      position = position + 2
    end
    return gone_us(line, state, position) - now_us
  end
  local _, ends = period(line, max(now_us, state[1]))
  return max(1, ends - now_us)
end

local function reset_us(line, state, now_us)
  if line[CODE] == SLIDING then return state[2] and gone_us(line, state, 2) - now_us or 0 end
  local spent = used(line, state, now_us)
  if line[CODE] == BUCKET then return ceil(spent / rate(line)) end
  return spent > 0 and room_in_us(line, state, now_us, 0) or 0
end

local function wait_us(line, state, now_us, amount)
  if amount <= 0 then return 0 end
  if amount > line[CAPACITY] then return NEVER end
  local excess = used(line, state, now_us) + amount - line[CAPACITY]
  if excess <= SLACK then return 0 end
  return room_in_us(line, state, now_us, excess)
end

local function view(line, state, now_us)
  local remaining = floor(line[CAPACITY] - used(line, state, now_us) + SLACK)
  return max(0, remaining), reset_us(line, state, now_us)
end

local function lease_view(line, key, now_us)
  local after = '(' .. string.format('%.0f', now_us)
  local held, wait = redis.call('ZCOUNT', key, after, '+inf'), 0
  if line[CAPACITY] < 1 then
    wait = NEVER
  elseif held >= line[CAPACITY] then
    local first = redis.call('ZRANGEBYSCORE', key, after, '+inf', 'WITHSCORES', 'LIMIT', 0, 1)
    wait = max(1, min(LEASE_WAIT_US, tonumber(first[2]) - now_us))
  end
  return max(0, line[CAPACITY] - held), held > 0 and LEASE_WAIT_US or 0, wait
end

local function change_slice(state, index, amount)
  local position = 2
  while state[position] and state[position] < index do position = position + 2 end
  if state[position] == index then
    local change = max(amount, -state[position + 1])
    state[position + 1] = state[position + 1] + change
    state[1] = state[1] + change
    if state[position + 1] == 0 then
      table.remove(state, position)
      table.remove(state, position)
    end
  elseif amount > 0 then
    table.insert(state, position, amount)
    table.insert(state, position, index)
    state[1] = state[1] + amount
  end
end

local function charge(line, state, now_us, amount)
  local code = line[CODE]
  if code == SLIDING then
    slide(line, state, now_us)
    local current, size = floor(now_us / line[SIZE]), #state
    if size > 1 and state[size - 1] >= current then
      current = state[size - 1]
      state[size] = state[size] + amount
    elseif amount > 0 then
      state[size + 1], state[size + 2] = current, amount
    end
    state[1] = state[1] + amount
    return current
  end
  if code == BUCKET then
    state[1] = used(line, state, now_us) + amount
    state[2] = max(state[2], now_us)
    return state[2] + state[1] / rate(line)
  end
  used(line, state, now_us)
  state[2] = state[2] + amount
  return state[1]
end

local function release(line, state, now_us, mark, amount)
  local level = used(line, state, now_us)
  local code = line[CODE]
  if code == SLIDING then
    change_slice(state, mark, -amount)
  elseif code == BUCKET then
    state[2] = max(state[2], now_us)
    state[1] = max(0, level - min(amount, max(0, (mark - state[2]) * rate(line))))
  elseif state[1] == mark then
    state[2] = max(0, state[2] - amount)
  end
end

-- Written with the time after which the bucket counts for nothing, so that idle subjects cost no memory.
local function save(line, key, state, now_us)
  local code, ends = line[CODE], now_us
  if code == SLIDING then
    if #state == 1 then return redis.call('DEL', key) end
    ends = gone_us(line, state, #state - 1)
  elseif code == BUCKET then
    ends = state[2] + state[1] / rate(line)
  else
    local _, last = period(line, max(now_us, state[1]))
    ends = last
  end
  return redis.call('SET', key, cmsgpack.pack(state), 'PX', ceil(max(0, ends - now_us) / 1000) + 1000)
end

local function integer(number) return string.format('%.0f', number) end
