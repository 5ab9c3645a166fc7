-- records.lua: how the record of a reservation changes; put in front of settle.lua and reap.lua (a prelude).
--
-- A record is a cmsgpack array {state, {key, code, limit, size_us, amount, mark, floor}, ...}: reserved (0),
-- settled (1) or abandoned (2), and what each bucket was charged and where it stands in the window.
local KEY, ROW_CODE, ROW_LIMIT, ROW_SIZE, ROW_AMOUNT, ROW_MARK, ROW_FLOOR = 1, 2, 3, 4, 5, 6, 7

local function row_line(row) return {row[ROW_CODE], row[ROW_LIMIT], 0, row[ROW_SIZE], 0, 0, 0} end

-- Bring one charged row from what it holds to `amount`: less is released where it was charged, more is charged now.
local function change_row(row, now_us, amount)
  local line, delta = row_line(row), amount - row[ROW_AMOUNT]
  if delta == 0 then return end
  local state = load_state(row[KEY])
  if delta > 0 then
    state = state or fresh(line)
    local mark = charge(line, state, now_us, delta)
    if row[ROW_AMOUNT] == 0 then row[ROW_MARK] = mark end
  elseif state then
    release(line, state, now_us, row[ROW_MARK], -delta)
  end
  if state then save(line, row[KEY], state, now_us) end
  row[ROW_AMOUNT] = amount
end
