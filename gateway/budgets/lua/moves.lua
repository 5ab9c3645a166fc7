-- moves.lua: what counts in a bucket as a list of {time_us, amount}; put in front of move.lua, spent.lua and
-- spend.lua (a prelude). For leases the list is {reservation, expiry}.

local function spends(line, key, now_us)
  local found = {}
  if line[CODE] == LEASE then
    local held = redis.call('ZRANGEBYSCORE', key, '(' .. integer(now_us), '+inf', 'WITHSCORES')
    for i = 1, #held, 2 do found[#found + 1] = {held[i], held[i + 1]} end
    return found
  end
  local state = load_state(key) or fresh(line)
  if line[CODE] == SLIDING then
    slide(line, state, now_us)
    for i = 2, #state, 2 do
      found[#found + 1] = {min(now_us, (state[i] + 1) * line[SIZE] - 1), state[i + 1]}
    end
  else
    local amount = used(line, state, now_us)
    if amount > 0 then found[1] = {now_us, amount} end
  end
  return found
end

local function spend_at(line, key, list, sign, now_us)
  if line[CODE] == LEASE then
    for _, lease in ipairs(list) do
      if sign > 0 then
        redis.call('ZADD', key, lease[2], lease[1])
        redis.call('PEXPIRE', key, 2 * HOLD_US / 1000)
      else
        redis.call('ZREM', key, lease[1])
      end
    end
    return
  end
  local state = load_state(key) or fresh(line)
  for _, spend in ipairs(list) do
    local at_us, amount = tonumber(spend[1]), sign * tonumber(spend[2])
    local level = used(line, state, now_us)
    if line[CODE] == SLIDING then
      local index = floor(at_us / line[SIZE])
      if index >= floor(now_us / line[SIZE]) - SLICES then change_slice(state, index, amount) end
    elseif line[CODE] == BUCKET then
      local kept = amount > 0 and max(0, amount - max(0, now_us - at_us) * rate(line)) or amount
      state[1], state[2] = max(0, level + kept), max(state[2], now_us)
    elseif at_us >= state[1] then
      state[2] = max(0, state[2] + amount)
    end
  end
  save(line, key, state, now_us)
end
