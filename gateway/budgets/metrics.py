"""Counters of the budgets. Labels are bounded: none holds an account, a model or a rule."""

from __future__ import annotations

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram

from gateway.telemetry.pending import Pending

LATENCY_BUCKETS_S = (0.0002, 0.0005, 0.001, 0.002, 0.005, 0.01, 0.02, 0.05, 0.1)


class BudgetMetrics:
    """Made on the registry that is passed in; a registry of its own where nobody looks.

    ``uncharged`` is the gateway's own counter of what could not be charged, ``pending`` its counts that are not told
    yet, where there are any.
    """

    def __init__(
        self,
        registry: CollectorRegistry | None = None,
        uncharged: Counter | None = None,
        pending: Pending | None = None,
    ) -> None:
        registry = registry if registry is not None else CollectorRegistry()
        pending = pending if pending is not None else Pending(registry)
        self.decisions = Counter(
            "distillguard_budget_decisions",
            "Reservations decided, by answer (granted, refused, denied) and by who decided (store, fallback).",
            ("answer", "by"),
            registry=registry,
        )
        self.granted = pending.counter(self.decisions.labels("granted", "store"))
        self.refused = self.decisions.labels("refused", "store")
        self.shadowed = Counter(
            "distillguard_budget_shadow_refusals", "Reservations that a shadow budget would refuse.", registry=registry
        )
        self.store_errors = Counter(
            "distillguard_store_errors",
            "Calls to the budget store that failed or ran out of time.",
            ("call",),
            registry=registry,
        )
        self.store_seconds = pending.histogram(
            Histogram(
                "distillguard_store_seconds",
                "Time of a reservation in the budget store.",
                buckets=LATENCY_BUCKETS_S,
                registry=registry,
            )
        )
        self.open = Gauge(
            "distillguard_reservations_open",
            "Reservations not settled yet, here.",
            registry=registry,
            multiprocess_mode="livesum",
        )
        self.abandoned = Counter(
            "distillguard_reservations_abandoned",
            "Reservations whose worker was gone, settled here.",
            registry=registry,
        )
        self.pending = Gauge(
            "distillguard_settlements_pending",
            "Settlements waiting for the store to come back.",
            registry=registry,
            multiprocess_mode="livesum",
        )
        self.uncharged = uncharged or Counter(
            "distillguard_uncharged",
            "Spending that could not be charged, by reason.",
            ("reason",),
            registry=registry,
        )
        self.workers = Gauge(
            "distillguard_store_workers",
            "Workers that share the budget store.",
            registry=registry,
            multiprocess_mode="max",
        )
