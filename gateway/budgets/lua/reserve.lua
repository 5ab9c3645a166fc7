-- reserve.lua: check and charge every bucket of one request, all or none.
--
-- KEYS[1]     record of the reservation
-- KEYS[2]     index of open reservations (sorted set: id, expiry)
-- KEYS[3..]   the buckets, one a line
-- ARGV[1]     the reservation's id
-- ARGV[2]     JSON: the lines, [[code, limit, capacity, size_us, shadow, amount, floor], ...]
--             floor is what the line is settled at if the reservation is abandoned
-- Returns     {granted 0|1, stale 0|1, remaining, reset_us, wait_us, remaining, ...} per line;
--             wait_us 0: fits, -1: never fits, else until it fits. Balances are those after the charge.
--             stale 1: an expired reservation waits for reap.lua.
-- Guarantee   Either every line is charged or none is. A line that is not shadow never exceeds its
--             capacity by this script. The same id is charged once however often it is sent.
local now_us = server_now_us()
local id, lines = ARGV[1], cjson.decode(ARGV[2])
local states, reply, granted = {}, {1, 0}, true
local found = redis.call('MGET', KEYS[1], unpack(KEYS, 3))
local known = found[1]

for i, line in ipairs(lines) do
  local key, remaining, reset, wait = KEYS[i + 2], 0, 0, 0
  if line[CODE] == LEASE then
    remaining, reset, wait = lease_view(line, key, now_us)
  else
    local state = load_state(key, found[i + 1]) or fresh(line)
    states[i] = state
    wait = wait_us(line, state, now_us, line[AMOUNT])
  end
  if known then wait = 0 end
  if wait ~= 0 and line[SHADOW] == 0 then granted = false end
  reply[3 * i], reply[3 * i + 1], reply[3 * i + 2] = remaining, reset, wait
end

local charges = granted and not known
local count, expiry = #lines, now_us + HOLD_US
local record = {RESERVED, ARGV[2], count, unpack(KEYS, 3)} -- as in records.lua
for i, line in ipairs(lines) do
  local key, state, mark, at = KEYS[i + 2], states[i], 0, 3 + count + 3 * i
  if state then
    if charges then
      mark = charge(line, state, now_us, line[AMOUNT])
      if line[AMOUNT] > 0 then save(line, key, state, now_us) end
    end
    reply[3 * i], reply[3 * i + 1] = view(line, state, now_us)
  elseif charges then
    redis.call('ZADD', key, expiry, id)
    redis.call('PEXPIRE', key, 2 * HOLD_US / 1000)
    reply[3 * i], reply[3 * i + 1] = max(0, reply[3 * i] - 1), LEASE_WAIT_US
  end
  record[at - 2], record[at - 1], record[at] = line[AMOUNT], mark, line[FLOOR]
end
if charges then
  redis.call('SET', KEYS[1], cmsgpack.pack(record), 'PX', RECORD_MS)
  redis.call('ZADD', KEYS[2], expiry, id)
  redis.call('PEXPIRE', KEYS[2], RECORD_MS)
end
if not granted then reply[1] = 0 end
if redis.call('ZCOUNT', KEYS[2], '-inf', now_us) > 0 then reply[2] = 1 end
return reply
