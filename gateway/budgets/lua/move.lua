-- move.lua: carry what was spent in one bucket's open window to another.
--
-- KEYS[1]     mark of this move, so that it is done once
-- KEYS[2..]   source, target and deduct (or the source again where nothing is deducted) of each move
-- ARGV[1]     JSON: [[source line, target line, deduct line or null, keep 0|1], ...], lines as in reserve.lua
-- ARGV[2]     seconds that the mark is remembered
-- Returns     1 done now, 0 it was done before
-- Guarantee   All moves or none, once. Amounts keep their time within the window; a target may end up above
--             its limit (then it refuses until enough has left the window).
if not redis.call('SET', KEYS[1], '1', 'NX', 'EX', ARGV[2]) then return 0 end
local now_us = server_now_us()

local function spends(line, state)
  local found = {}
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

local function spend_at(line, key, list, sign)
  local state = load_state(key) or fresh(line)
  for _, spend in ipairs(list) do
    local at_us, amount = spend[1], sign * spend[2]
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

for i, move in ipairs(cjson.decode(ARGV[1])) do
  local source, target, deduct = KEYS[3 * i - 1], KEYS[3 * i], KEYS[3 * i + 1]
  if move[1][CODE] == LEASE then
    redis.call('ZUNIONSTORE', target, 2, target, source, 'AGGREGATE', 'MAX')
    redis.call('PEXPIRE', target, 2 * HOLD_US / 1000)
  else
    local list = spends(move[1], load_state(source) or fresh(move[1]))
    spend_at(move[2], target, list, 1)
    if move[3] ~= cjson.null then spend_at(move[3], deduct, list, -1) end
  end
  if move[4] == 0 then redis.call('DEL', source) end
end
return 1
