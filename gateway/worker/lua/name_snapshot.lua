-- Make an uploaded snapshot the one that counts, if the worker still leads.
-- KEYS: 1 the lease, 2 the hash that names the snapshot
-- ARGV: 1 the worker's name, 2 prefix of the snapshot's parts, 3 how many parts
-- Returns the prefix and the number of the parts of the snapshot before ('' and '0' where there was none),
-- or 0 if another worker leads: then nothing has changed.
if redis.call('GET', KEYS[1]) ~= ARGV[1] then
  return 0
end
local old = redis.call('HMGET', KEYS[2], 'prefix', 'parts')
redis.call('HSET', KEYS[2], 'prefix', ARGV[2], 'parts', ARGV[3])
return {old[1] or '', old[2] or '0'}
