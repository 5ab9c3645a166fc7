-- spend.lua: add a list from spent.lua to a bucket; the second half of a move between two slots.
--
-- KEYS[1]     mark of this move in the bucket's slot
-- KEYS[2]     the bucket
-- ARGV[1]     JSON: its line, as in reserve.lua
-- ARGV[2]     JSON: the list
-- ARGV[3]     1 add, -1 take back as far as it is there
-- ARGV[4]     seconds that the mark is remembered
-- Returns     1 done now, 0 it was done before
-- Guarantee   Once per mark.
if not redis.call('SET', KEYS[1], '1', 'NX', 'EX', ARGV[4]) then return 0 end
spend_at(cjson.decode(ARGV[1]), KEYS[2], cjson.decode(ARGV[2]), tonumber(ARGV[3]), server_now_us())
return 1
