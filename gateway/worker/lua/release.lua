-- Give the lease back, unless another worker has it by now.
-- KEYS: 1 the lease
-- ARGV: 1 the worker's name
-- Returns 1 if it was given back, 0 if it was not this worker's.
if redis.call('GET', KEYS[1]) ~= ARGV[1] then
  return 0
end
return redis.call('DEL', KEYS[1])
