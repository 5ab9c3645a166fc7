-- move.lua: carry what was spent in one bucket's open window to another, all moves in one script.
--
-- KEYS[1]     mark of this move, so that it is done once
-- KEYS[2..]   source, target and deduct (or the source again where nothing is deducted) of each move
-- ARGV[1]     JSON: [[source line, target line, deduct line or null, keep 0|1], ...], lines as in reserve.lua
-- ARGV[2]     seconds that the mark is remembered
-- Returns     1 done now, 0 it was done before
-- Guarantee   All moves or none, once. Amounts keep their time within the window; a target may end up above
--             its limit (then it refuses until enough has left the window).
if not redis.call('SET', KEYS[1], '1', 'NX', 'EX', ARGV[2]) then return 0 end
local now_us = server_now_us()
for i, move in ipairs(cjson.decode(ARGV[1])) do
  local source, target, deduct = KEYS[3 * i - 1], KEYS[3 * i], KEYS[3 * i + 1]
  local list = spends(move[1], source, now_us)
  spend_at(move[2], target, list, 1, now_us)
  if move[3] ~= cjson.null then spend_at(move[3], deduct, list, -1, now_us) end
  if move[4] == 0 then redis.call('DEL', source) end
end
return 1
