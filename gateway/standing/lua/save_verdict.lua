-- Keep a verdict unless a later one on its cluster is held, and tell the readers.
-- KEYS: 1 hash of verdicts (cluster -> "VERSION DECIDED_AT JSON"), 2 stream of changes
-- ARGV: 1 cluster, 2 version (whole number), 3 decided_at (s, decimal), 4 JSON, 5 changes kept (entries)
-- Returns 1 if it was kept, 0 if the held one is as late or later.
-- Atomic: the hash and the stream change together or not at all; a repeated call changes nothing.
local held = redis.call('HGET', KEYS[1], ARGV[1])
if held then
  local version, decided_at = string.match(held, '^(%d+) (%S+) ')
  local new_version, old_version = tonumber(ARGV[2]), tonumber(version)
  if new_version < old_version or (new_version == old_version and tonumber(ARGV[3]) <= tonumber(decided_at)) then
    return 0
  end
end
redis.call('HSET', KEYS[1], ARGV[1], ARGV[2] .. ' ' .. ARGV[3] .. ' ' .. ARGV[4])
redis.call('XADD', KEYS[2], 'MAXLEN', '~', ARGV[5], '*', 'cluster', ARGV[1])
return 1
