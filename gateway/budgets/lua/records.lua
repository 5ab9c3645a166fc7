-- records.lua: how the record of a reservation changes; put in front of settle.lua, renew.lua and reap.lua (a prelude).
--
-- A record is a flat cmsgpack array, because a nested one takes thrice as long to pack:
--   {state, lines, count, key per line, then for each line amount, mark, floor}
-- state is reserved (0), settled (1; nothing follows) or abandoned (2), lines the JSON of reserve.lua, amount what the
-- bucket was charged, mark where that stands in its window.
local KEEPS, COUNT = 3, 3

-- Where the amount of a line stands; its mark and its floor follow.
local function place(record, i) return KEEPS + record[COUNT] + 3 * i - 2 end

-- Bring one charged line from what it holds to `amount`: less is released where it was charged, more is charged now.
local function change(line, key, packed, now_us, held, mark, amount)
  local delta = amount - held
  if delta == 0 then return mark end
  local state = load_state(key, packed)
  if delta > 0 then
    state = state or fresh(line)
    local charged = charge(line, state, now_us, delta)
    if held == 0 then mark = charged end
  elseif state then
    release(line, state, now_us, mark, -delta)
  end
  if state then save(line, key, state, now_us) end
  return mark
end
