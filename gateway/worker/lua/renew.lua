-- Take or renew the lease of the leading analysis worker.
-- KEYS: 1 the lease
-- ARGV: 1 the worker's name, 2 how long it lasts (ms)
-- Returns 1 if it is this worker's now, 0 if another's.
local holder = redis.call('GET', KEYS[1])
if holder and holder ~= ARGV[1] then
  return 0
end
redis.call('SET', KEYS[1], ARGV[1], 'PX', ARGV[2])
return 1
