"""Budgets: what a subject may spend in a window; reserved before the upstream is asked, settled after.

Read ``facade.py`` first. ``windows.py`` and ``lua/`` are the arithmetic, ``memory.py`` and ``redis_store.py`` the two
stores, ``refusals.py`` what a caller is told, ``estimator.py`` what a request will spend.
"""

from __future__ import annotations

from gateway.budgets.core import Move
from gateway.budgets.estimator import Estimator
from gateway.budgets.facade import Budgets, open_budgets
from gateway.budgets.memory import MemoryStore
from gateway.budgets.metrics import BudgetMetrics
from gateway.budgets.selftest import self_test

__all__ = ["BudgetMetrics", "Budgets", "Estimator", "MemoryStore", "Move", "open_budgets", "self_test"]
