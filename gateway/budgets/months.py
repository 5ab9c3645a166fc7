"""When months begin and end in UTC, in whole microseconds."""

from __future__ import annotations

DAY_US = 86_400_000_000


def month_bounds(now_us: int) -> tuple[int, int]:
    """First instant of the UTC month of ``now_us`` and of the next one, in microseconds.

    Days to civil date and back by the era arithmetic of Howard Hinnant, "chrono-Compatible Low-Level Date
    Algorithms" (days_from_civil, civil_from_days): whole numbers only, so that Lua can do the same.
    """
    days = now_us // DAY_US + 719_468
    era, doe = divmod(days, 146_097)
    yoe = (doe - doe // 1_460 + doe // 36_524 - doe // 146_096) // 365
    doy = doe - (365 * yoe + yoe // 4 - yoe // 100)
    mp = (5 * doy + 2) // 153
    first = days - 719_468 - (doy - (153 * mp + 2) // 5)
    year = yoe + era * 400 + (1 if mp >= 10 else 0)  # noqa: PLR2004 - January and February end the era's year
    month = mp + 3 if mp < 10 else mp - 9  # noqa: PLR2004 - as above
    return first * DAY_US, (first + _month_days(year, month)) * DAY_US


def _month_days(year: int, month: int) -> int:
    if month == 2:  # noqa: PLR2004 - February
        return 29 if year % 4 == 0 and (year % 100 != 0 or year % 400 == 0) else 28
    return 30 if month in {4, 6, 9, 11} else 31
