-- append.lua: append events to the stream, all in one call.
--
-- KEYS[1]     the stream
-- ARGV[1]     about how many entries the stream keeps
-- ARGV[2..]   one event a piece, as bytes
-- Returns     how many were appended.
-- Guarantee   All are appended, in order, or none.
for i = 2, #ARGV do redis.call('XADD', KEYS[1], 'MAXLEN', '~', ARGV[1], '*', 'e', ARGV[i]) end
return #ARGV - 1
