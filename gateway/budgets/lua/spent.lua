-- spent.lua: what counts in one bucket now; the first half of a move between two slots of a cluster.
--
-- KEYS[1]     the bucket
-- ARGV[1]     JSON: its line, as in reserve.lua
-- Returns     {{time_us, amount}, ...} as strings, exact; for leases {{reservation, expiry_us}, ...}
-- Guarantee   Writes nothing.
local line = cjson.decode(ARGV[1])
local list = spends(line, KEYS[1], server_now_us())
for _, spend in ipairs(list) do
  if line[CODE] ~= LEASE then spend[1], spend[2] = integer(spend[1]), string.format('%.17g', spend[2]) end
end
return list
