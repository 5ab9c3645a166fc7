-- workers.lua: how many gateway workers share this store.
--
-- KEYS[1]     sorted set of workers (id, expiry)
-- ARGV[1]     this worker's id
-- ARGV[2]     seconds that a sign of life counts
-- Returns     the number of workers seen within that time, this one included
-- Guarantee   Needs no clock of the workers.
local now_us = server_now_us()
redis.call('ZADD', KEYS[1], integer(now_us + tonumber(ARGV[2]) * 1000000), ARGV[1])
redis.call('ZREMRANGEBYSCORE', KEYS[1], '-inf', integer(now_us))
redis.call('EXPIRE', KEYS[1], ARGV[2])
return redis.call('ZCARD', KEYS[1])
