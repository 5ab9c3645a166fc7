-- peek.lua: the balances of buckets, charging nothing.
--
-- KEYS        the buckets, one a line
-- ARGV[1]     JSON: the lines as in reserve.lua
-- Returns     {remaining, reset_us, remaining, ...}
-- Guarantee   Writes nothing.
local now_us = server_now_us()
local reply = {}
for i, line in ipairs(cjson.decode(ARGV[1])) do
  local remaining, reset
  if line[CODE] == LEASE then
    remaining, reset = lease_view(line, KEYS[i], now_us)
  else
    remaining, reset = view(line, load_state(KEYS[i]) or fresh(line), now_us)
  end
  reply[2 * i - 1], reply[2 * i] = remaining, reset
end
return reply
