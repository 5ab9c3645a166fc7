-- settle.lua: replace what was reserved by what was really spent; a refund is a settlement at 0.
--
-- KEYS[1]     record of the reservation
-- KEYS[2]     index of open reservations
-- KEYS[3..]   the buckets, one a line, in the order of the reservation
-- ARGV[1]     the reservation's id
-- ARGV[2]     JSON: the lines as in reserve.lua; amount is what was really spent
-- Returns     1 settled now, 0 it was settled before (nothing changes), 2 unknown here (the store came back
--             empty, or could not be asked at the reservation): charged in full without a check.
-- Guarantee   At most one settlement counts (of those within 5 minutes of the first). Leases are released by id. A release never makes room that
--             the reservation's own charge did not take. An abandoned reservation may still be settled.
local now_us = server_now_us()
local id, lines = ARGV[1], cjson.decode(ARGV[2])
local found = redis.call('MGET', KEYS[1], unpack(KEYS, 3))
local record = found[1] and cmsgpack.unpack(found[1]) or {RESERVED, '', 0}
if record[1] == SETTLED then return 0 end

for i, line in ipairs(lines) do
  local key = KEYS[i + 2]
  if line[CODE] == LEASE then
    redis.call('ZREM', key, id)
  else
    local at = place(record, i)
    change(line, key, found[i + 1], now_us, record[at] or 0, record[at + 1] or 0, line[AMOUNT])
  end
end
redis.call('ZREM', KEYS[2], id)
redis.call('SET', KEYS[1], cmsgpack.pack({SETTLED}), 'PX', DONE_MS)
return found[1] and 1 or 2
