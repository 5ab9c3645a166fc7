-- renew.lua: the heartbeat of a worker's open reservations.
--
-- KEYS        the index of open reservations, then for each reservation its record and its lease buckets
-- ARGV[1]     JSON: [[id, number of lease buckets, [floor per line]], ...]
-- Returns     how many were renewed
-- Guarantee   A renewed reservation and its leases last 30 s from now; what was seen to flow so far becomes
--             its floor. Leases are taken again where the store came back empty. Settled ones stay settled.
local now_us = server_now_us()
local expiry, position, renewed = integer(now_us + HOLD_US), 2, 0
for _, entry in ipairs(cjson.decode(ARGV[1])) do
  local id, leases, floors = entry[1], entry[2], entry[3]
  local packed = redis.call('GET', KEYS[position])
  local record = packed and cmsgpack.unpack(packed) or {RESERVED}
  if record[1] == RESERVED then
    for i = 1, leases do
      redis.call('ZADD', KEYS[position + i], expiry, id)
      redis.call('PEXPIRE', KEYS[position + i], 2 * HOLD_US / 1000)
    end
    if packed then
      for i = 1, record[COUNT] do
        local at = place(record, i) + 2
        record[at] = floors[i] or record[at]
      end
      redis.call('SET', KEYS[position], cmsgpack.pack(record), 'PX', RECORD_MS)
      redis.call('ZADD', KEYS[1], expiry, id)
      renewed = renewed + 1
    end
  end
  position = position + 1 + leases
end
return renewed
