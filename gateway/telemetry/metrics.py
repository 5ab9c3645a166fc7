"""Metrics, made from events: what is counted here can be counted again from the event log.

Names of the OpenTelemetry conventions for generative AI are used where they exist, as Prometheus translates
them (dots to underscores, the unit appended): https://opentelemetry.io/docs/specs/semconv/gen-ai/gen-ai-metrics/
(status "development"), with the bucket boundaries given there. They describe requests that reached a model
server; ``distillguard_*`` metrics describe every request.

With several workers pass ``workers_dir``: each worker keeps its values in files there and every worker renders
the sum. Leaves out: the route that serves ``render``.
"""

from __future__ import annotations

import os
from typing import TYPE_CHECKING, Any, NamedTuple

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, values
from prometheus_client.core import GaugeMetricFamily
from prometheus_client.exposition import CONTENT_TYPE_LATEST, generate_latest
from prometheus_client.multiprocess import MultiProcessCollector
from prometheus_client.registry import Collector

from gateway.telemetry.labels import BoundedLabel
from gateway.telemetry.pending import Pending, PendingCounter, PendingHistogram
from gateway.types import Outcome

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator, Mapping
    from pathlib import Path

    from prometheus_client.metrics_core import Metric

    from gateway.types import JSON, Event

MAX_MODELS = 50
MAX_ROUTES = 50
MAX_RULES = 200
DURATION_BUCKETS = (0.01, 0.02, 0.04, 0.08, 0.16, 0.32, 0.64, 1.28, 2.56, 5.12, 10.24, 20.48, 40.96, 81.92)
FIRST_TOKEN_BUCKETS = (0.001, 0.005, 0.01, 0.02, 0.04, 0.06, 0.08, 0.1, 0.25, 0.5, 0.75, 1.0, 2.5, 5.0, 7.5, 10.0)
TOKEN_BUCKETS = tuple(4.0**power for power in range(14))
_GEN_AI = ("gen_ai_operation_name", "gen_ai_provider_name", "gen_ai_request_model")
_OPERATIONS = {
    "chat_completions": "chat",
    "responses": "chat",
    "messages": "chat",
    "completions": "text_completion",
    "embeddings": "embeddings",
}
_SUCCESS_BELOW = 400
_REFRESH_EVERY = 256
_TELL_EVERY = 64


class Metrics:
    """Everything ``/metrics`` shows. ``observe`` takes about 3 µs; it is called once a request.

    Args:
        models: names that are labels from the start; others become one when first answered, up to ``MAX_MODELS``.
        workers_dir: an empty folder shared by all workers of this run; ``None`` with one worker.
    """

    def __init__(self, *, models: Iterable[str] = (), workers_dir: Path | None = None) -> None:
        self.registry = CollectorRegistry()
        self._workers_dir = workers_dir
        if workers_dir is not None:
            _keep_values_in(workers_dir)
        self.pending = Pending(self.registry)
        self._models = BoundedLabel(MAX_MODELS, models)
        self._routes = BoundedLabel(MAX_ROUTES)
        self._rules = BoundedLabel(MAX_RULES)
        self._policy = ""
        self._statuses: dict[str, Callable[[], Mapping[str, JSON]]] = {}
        self._seen_dropped: dict[str, int] = {}
        self._observed = 0
        self._open = 0
        self._by_route: dict[tuple[Any, ...], tuple[PendingCounter, PendingHistogram, PendingHistogram]] = {}
        self._by_model: dict[tuple[Any, ...], _OfModel] = {}
        self._by_labels: dict[tuple[Any, ...], Any] = {}
        self._make()

    def _make(self) -> None:
        """Declare every metric, in the order of the documentation."""
        r = self.registry
        self._requests = Counter(
            "distillguard_requests", "Requests that ended.", ["route", "outcome", "status_class"], registry=r
        )
        self._refusals = Counter(
            "distillguard_refusals", "Requests refused, by code and policy rule.", ["kind", "rule"], registry=r
        )
        self._tokens = Counter("distillguard_tokens", "Tokens settled.", ["direction", "model"], registry=r)
        self._cost = Counter("distillguard_cost_usd", "Cost settled, in US dollars.", ["model"], registry=r)
        self.uncharged = Counter(
            "distillguard_uncharged",
            "Answers whose real usage is not known: not_reported (counted from what flowed), cut (the caller left), "
            "store (the store of budgets was away).",
            ["reason"],
            registry=r,
        )
        self._marked = Counter("distillguard_marked_replies", "Replies that carry marks.", registry=r)
        self._shadowed = Counter(
            "distillguard_shadow_refusals", "Requests that a shadow budget would have refused.", ["rule"], registry=r
        )
        self._duration = Histogram(
            "distillguard_duration_seconds",
            "From the request's first byte to its end.",
            ["route"],
            buckets=DURATION_BUCKETS,
            registry=r,
        )
        self._first_byte = Histogram(
            "distillguard_time_to_first_byte_seconds",
            "From the request's first byte to the reply's.",
            ["route"],
            buckets=FIRST_TOKEN_BUCKETS,
            registry=r,
        )
        self._gen_usage = Histogram(
            "gen_ai_client_token_usage",
            "Tokens used by one operation (gen_ai.client.token.usage).",
            [*_GEN_AI, "gen_ai_token_type"],
            buckets=TOKEN_BUCKETS,
            registry=r,
        )
        self._gen_duration = Histogram(
            "gen_ai_server_request_duration_seconds",
            "Duration of one operation (gen_ai.server.request.duration).",
            [*_GEN_AI, "error_type"],
            buckets=DURATION_BUCKETS,
            registry=r,
        )
        self._gen_first = Histogram(
            "gen_ai_server_time_to_first_token_seconds",
            "Until the first token of a streamed answer (gen_ai.server.time_to_first_token).",
            [*_GEN_AI],
            buckets=FIRST_TOKEN_BUCKETS,
            registry=r,
        )
        self._active = Gauge(
            "distillguard_active_requests", "Requests now open.", registry=r, multiprocess_mode="livesum"
        )
        self._reload_failures = Counter(
            "distillguard_policy_reload_failures", "Policy files that were not taken over.", registry=r
        )
        self._dropped = Counter(
            "distillguard_events_dropped", "Events that could not be kept, by store.", ["store"], registry=r
        )
        self._up = Gauge(
            "distillguard_store_up", "1 while a store answers.", ["store"], registry=r, multiprocess_mode="min"
        )
        self._own = _OwnCollector(self)
        if self._workers_dir is None:
            r.register(self._own)

    def began(self) -> None:
        """A request was accepted."""
        self._open += 1

    def ended(self) -> None:
        """A request is over, however it ended."""
        self._open -= 1
        if self._workers_dir is not None and not self._open:
            self._tell()  # another worker may render

    def policy_loaded(self, policy_hash: str) -> None:
        """``policy_hash`` decides from now on."""
        self._policy = policy_hash

    def policy_reload_failed(self) -> None:
        """Policy files changed and were not taken over."""
        self._reload_failures.inc()

    def watch(self, name: str, status: Callable[[], Mapping[str, JSON]]) -> None:
        """Show the store ``name``: ``status()`` gives ``ok`` and, where it drops things, ``dropped``."""
        self._statuses[name] = status

    def refresh(self) -> None:
        """Ask the stores' statuses. ``render`` does it, and with several workers each at times."""
        for name, status in self._statuses.items():
            facts = status()
            self._up.labels(name).set(1 if facts.get("ok", True) else 0)
            dropped = int(facts.get("dropped", 0))
            self._dropped.labels(name).inc(max(0, dropped - self._seen_dropped.get(name, 0)))
            self._seen_dropped[name] = dropped
        self._tell()

    def _tell(self) -> None:
        self._active.set(self._open)
        self.pending.tell()

    def observe(self, event: Event) -> None:
        """Count one request that ended."""
        self._observed += 1
        if self._workers_dir is not None and self._observed % _TELL_EVERY == 0:
            self.refresh() if self._observed % _REFRESH_EVERY == 0 else self._tell()
        key = (event.route, event.outcome, event.status // 100)
        requests, duration, first_byte = self._by_route.get(key) or self._route(key)
        requests.value += 1
        duration.observe(event.duration_s)
        if event.first_byte_s is not None:
            first_byte.observe(event.first_byte_s)
        if event.refusal is not None:
            self._refusals.labels(event.refusal, self._rules.of(event.rule)).inc()
        for rule in event.shadowed:
            self._shadowed.labels(self._rules.of(rule)).inc()
        if event.marked:
            self._marked.inc()
        if event.outcome is not Outcome.REFUSED:
            self._observe_upstream(event)

    def _observe_upstream(self, event: Event) -> None:
        """Count what reached a model server."""
        answered = event.outcome is Outcome.ANSWERED and event.status < _SUCCESS_BELOW
        model = self._models.of(event.model, admit=answered)
        usage = event.usage
        error = "" if answered else _error_type(event)
        key = (event.route, event.family, model, error)
        made = self._by_model.get(key) or self._model(key)
        reported = usage is not None and usage.reported
        if usage is not None:
            made.input.value += usage.input_tokens
            made.output.value += usage.output_tokens
            made.cost_usd.value += event.cost_microusd * 1e-6
            if not reported:
                self.uncharged.labels("not_reported" if answered else "cut").inc()
        if event.degraded:
            self.uncharged.labels("store").inc()
        gen = made.gen
        if gen is None:
            return
        if usage is not None and reported:
            gen.input.observe(usage.input_tokens)
            gen.output.observe(usage.output_tokens)
        gen.duration.observe(event.duration_s)
        if event.stream and answered and event.first_byte_s is not None:
            gen.first.observe(event.first_byte_s)

    def _route(self, key: tuple[Any, ...]) -> tuple[PendingCounter, PendingHistogram, PendingHistogram]:
        """The children of one route, outcome and class of status, kept for the next time."""
        route, outcome, status_class = key
        label = self._routes.of(route)
        status = f"{status_class}xx" if status_class else "none"
        made = (
            self._counter(self._requests, label, outcome.value, status),
            self._histogram(self._duration, label),
            self._histogram(self._first_byte, label),
        )
        if label == route:  # what is "other" is not kept: the cache stays as bounded as the labels
            self._by_route[key] = made
        return made

    def _model(self, key: tuple[Any, ...]) -> _OfModel:
        """The children of one route, model and kind of error, kept for the next time."""
        route, family, model, error = key
        operation = _OPERATIONS.get(route.rpartition(".")[2])
        known = self._routes.of(route) == route
        gen = None
        if operation is not None and known:
            names = (operation, family, model)
            gen = _OfGenAi(
                self._histogram(self._gen_usage, *names, "input"),
                self._histogram(self._gen_usage, *names, "output"),
                self._histogram(self._gen_duration, *names, error),
                self._histogram(self._gen_first, *names),
            )
        made = _OfModel(
            self._counter(self._tokens, "input", model),
            self._counter(self._tokens, "output", model),
            self._counter(self._cost, model),
            gen,
        )
        if known:
            self._by_model[key] = made
        return made

    def _counter(self, of: Counter, *labels: str) -> PendingCounter:
        """The pending count of one child, made once."""
        key = (of, labels)
        if key not in self._by_labels:
            self._by_labels[key] = self.pending.counter(of.labels(*labels))
        found: PendingCounter = self._by_labels[key]
        return found

    def _histogram(self, of: Histogram, *labels: str) -> PendingHistogram:
        """As ``_counter``."""
        key = (of, labels)
        if key not in self._by_labels:
            self._by_labels[key] = self.pending.histogram(of.labels(*labels))
        found: PendingHistogram = self._by_labels[key]
        return found

    def render(self) -> tuple[bytes, str]:
        """The page and its content type."""
        self.refresh()
        registry = self.registry
        if self._workers_dir is not None:
            registry = CollectorRegistry()
            MultiProcessCollector(registry, path=str(self._workers_dir))  # type: ignore[no-untyped-call]
            registry.register(self._own)
        return generate_latest(registry), CONTENT_TYPE_LATEST


class _OfGenAi(NamedTuple):
    """The children of one operation and model, by the OpenTelemetry conventions."""

    input: PendingHistogram
    output: PendingHistogram
    duration: PendingHistogram
    first: PendingHistogram


class _OfModel(NamedTuple):
    """The children of one model; ``gen`` is ``None`` where the route is no operation of the conventions."""

    input: PendingCounter
    output: PendingCounter
    cost_usd: PendingCounter
    gen: _OfGenAi | None


class _OwnCollector(Collector):
    """What is asked from this worker when the page is made, not counted."""

    def __init__(self, metrics: Metrics) -> None:
        self._metrics = metrics

    def collect(self) -> Iterator[Metric]:
        """The policy that decides; one line, whatever was loaded before."""
        info = GaugeMetricFamily("distillguard_policy_info", "The policy set in force.", labels=["hash"])
        if self._metrics._policy:  # noqa: SLF001 - two halves of one class
            info.add_metric([self._metrics._policy], 1)  # noqa: SLF001 - as above
        yield info


def _error_type(event: Event) -> str:
    """The ``error.type`` attribute of what was not answered well: one of four."""
    if event.outcome is Outcome.ANSWERED:
        return f"{event.status // 100}xx"
    return event.outcome.value


def _keep_values_in(folder: Path) -> None:
    """Make metrics created from now on keep their values in ``folder`` (the library's way: its environment)."""
    folder.mkdir(parents=True, exist_ok=True)
    os.environ["PROMETHEUS_MULTIPROC_DIR"] = str(folder)
    if not getattr(values.ValueClass, "_multiprocess", False):
        values.ValueClass = values.MultiProcessValue()  # type: ignore[no-untyped-call]
