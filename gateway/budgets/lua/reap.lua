-- reap.lua: settle reservations whose worker is gone at what was last seen to flow.
--
-- KEYS[1]     index of open reservations
-- ARGV[1]     prefix of the records' keys (same slot as the index)
-- ARGV[2]     at most this many in one call
-- Returns     the ids abandoned now
-- Guarantee   A reservation is abandoned only when it was not renewed for 30 s; its leases are free by then.
--             A late settlement still replaces the floor by the real amounts.
-- Keys of records and buckets are read from the index and the record, so they are not declared: they share
-- the index's hash tag and so its slot.
local now_us = server_now_us()
local ids = redis.call('ZRANGEBYSCORE', KEYS[1], '-inf', integer(now_us), 'LIMIT', 0, tonumber(ARGV[2]))
for _, id in ipairs(ids) do
  local key = ARGV[1] .. id
  local packed = redis.call('GET', key)
  local record = packed and cmsgpack.unpack(packed)
  if record and record[1] == RESERVED then
    for i, line in ipairs(cjson.decode(record[2])) do
      local bucket, at = record[KEEPS + i], place(record, i)
      if line[CODE] == LEASE then
        redis.call('ZREM', bucket, id)
      else
        local floor_amount = record[at + 2]
        record[at + 1] = change(line, bucket, false, now_us, record[at], record[at + 1], floor_amount)
        record[at] = floor_amount
      end
    end
    record[1] = ABANDONED
    redis.call('SET', key, cmsgpack.pack(record), 'PX', RECORD_MS)
  end
  redis.call('ZREM', KEYS[1], id)
end
return ids
