"""Policy files, read and joined into one checked set.

Sections of several files are joined: plans, upstreams and prices by name, rules, budgets and exemptions in
the order of the files, the lists of ``access`` together. What may stand once (a plan's name, a budget's
name, ``default_plan``, a level of standing) and stands twice is an error, as is a name that is nowhere
defined. All mistakes are collected before one error is raised.
"""

from __future__ import annotations

import hashlib
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING

import orjson

from gateway.errors import ConfigError, FileErrors
from gateway.policy.decide import NOT_ALLOWED, PolicySet
from gateway.policy.joiner import Joiner, ReadFile
from gateway.policy.language import ROUTE_PATHS
from gateway.policy.parts import (
    EXEMPTIONS,
    AnalysisPolicy,
    CustomerPlan,
    Exemption,
    Parts,
    PassThrough,
    RecordingPolicy,
    SamplesPolicy,
    UpstreamSpec,
    is_key,
)
from gateway.policy.rules import Effect, Match, Rule
from gateway.settings import Secret, check_url
from gateway.types import BEHAVIOUR, CARRIERS, Budget, Level, Price, Subject

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

    from gateway.policy.rules import Place
    from gateway.policy.source import Path
    from gateway.policy.spec_rules import EffectSpec, ExemptSpec, MatchSpec, RefuseSpec, RuleSpec, StandingSpec
    from gateway.policy.spec_servers import SamplesSpec, UpstreamFileSpec


@dataclass(slots=True)
class _Compiler(Joiner):
    """Joins files section by section."""

    plans: dict[str, CustomerPlan] = field(default_factory=dict)
    plan_places: dict[str, Place] = field(default_factory=dict)
    upstreams: dict[str, UpstreamSpec] = field(default_factory=dict)

    # -- plans, upstreams, prices

    def all_plans(self) -> None:
        for file in self.files:
            for name, spec in file.model.plans.items():
                path: Path = ("plans", name)
                self.once(self.plan_places, name, "plan", file, path)
                self.plans[name] = CustomerPlan(
                    name=name,
                    budgets=self.budget_list(file, (*path, "budgets"), spec.budgets, name, Subject.ACCOUNT),
                    models=spec.models,
                    max_output_tokens=spec.max_output_tokens,
                    max_choices=spec.max_choices,
                    description=spec.description,
                )

    def all_upstreams(self) -> None:
        seen: dict[str, Place] = {}
        for file in self.files:
            for name, spec in file.model.upstreams.items():
                path: Path = ("upstreams", name)
                if self.once(seen, name, "upstream", file, path):
                    self.upstreams[name] = self._upstream(file, path, name, spec)

    def _upstream(self, file: ReadFile, path: Path, name: str, spec: UpstreamFileSpec) -> UpstreamSpec:
        url = self.resolved(file, (*path, "url"), spec.url)
        if url is None and name != "default":
            self.wrong(
                file, path, f"got the upstream {name!r} without a url, expected one (only 'default' may lack it)"
            )
        if url is not None:
            try:
                check_url("url", url)
            except ConfigError as error:
                secret = url != spec.url or "@" in url
                _, _, expected = str(error).rpartition(", expected ")
                shown = "a url that cannot be used" if secret else repr(url)
                self.wrong(file, (*path, "url"), f"got {shown}, expected {expected}")
        key = self.resolved(file, (*path, "api_key"), spec.api_key)
        return UpstreamSpec(
            name=name, url=url, models=spec.models, path_prefix=spec.path_prefix,
            api_key=None if key is None else Secret(key), connect_timeout_s=spec.connect_timeout,
            first_byte_timeout_s=spec.first_byte_timeout, idle_timeout_s=spec.idle_timeout,
        )  # fmt: skip

    def prices(self) -> dict[str, Price]:
        found: dict[str, Price] = {}
        seen: dict[str, Place] = {}
        for file in self.files:
            for pattern, spec in file.model.prices.items():
                self.once(seen, pattern.lower(), "price", file, ("prices", pattern))
                found[pattern.lower()] = Price(input=spec.input, output=spec.output)
        return found

    def pass_through(self) -> tuple[PassThrough, ...]:
        found = []
        for file in self.files:
            for index, spec in enumerate(file.model.pass_through):
                path: Path = ("pass_through", index)
                self._check_route(file, path, spec.path)
                self.known("upstream", spec.upstream, {*self.upstreams, "default"}, file, (*path, "upstream"))
                found.append(
                    PassThrough(
                        path=spec.path,
                        methods=tuple(spec.methods),
                        authenticate=spec.authenticate,
                        upstream=spec.upstream,
                    )
                )
        return tuple(found)

    def _check_route(self, file: ReadFile, path: Path, route: str) -> None:
        """A star only at the end, and nothing that would take a metered route past its budgets."""
        if "*" in route[:-1] or "?" in route:
            self.wrong(file, (*path, "path"), f"got {route!r}, expected at most one '*', at the end")
        for metered in sorted(set(ROUTE_PATHS.values())):
            if metered == route or (route.endswith("*") and metered.startswith(route[:-1])):
                said = f"got {route!r}, which would take {metered} past its budgets, expected a narrower path"
                self.wrong(file, (*path, "path"), said)
                return

    # -- rules

    def match(self, file: ReadFile, path: Path, spec: MatchSpec) -> Match:
        for name in spec.plan or ():
            self.known("plan", name, set(self.plans), file, (*path, "plan"))
        return Match.of(spec)

    def rule(self, file: ReadFile, path: Path, spec: RuleSpec, index: int) -> Rule:
        self.once(self.names, spec.name, "rule", file, (*path, "name"))
        effect = self.effect(file, (*path, "then"), spec.then, f"rules/{spec.name}")
        if effect == Effect():
            self.wrong(file, (*path, "then"), "got a rule without an effect, expected one, such as refuse or budgets")
        if effect.budgets and _looks_at_suspicion(spec):
            said = "got budgets in a rule that looks at the level, expected cluster_budgets under standings"
            self.wrong(file, (*path, "then", "budgets"), f"{said}: callers are shown the names of other budgets")
        if spec.shadow:
            effect = replace(effect, budgets=tuple(replace(budget, shadow=True) for budget in effect.budgets))
            if effect.refuse is None and not effect.budgets:
                said = "got a shadow of nothing that is counted, expected a rule with refuse or budgets"
                self.wrong(file, (*path, "shadow"), said)
        return Rule(
            name=spec.name, index=index, match=self.match(file, (*path, "match"), spec.match), condition=spec.if_,
            share=spec.share, shadow=spec.shadow, effect=effect, place=self.place(file, path), description=spec.description,
        )  # fmt: skip

    def effect(self, file: ReadFile, path: Path, spec: EffectSpec, owner: str) -> Effect:
        self.known("plan", spec.plan, set(self.plans), file, (*path, "plan"))
        self.known("upstream", spec.upstream, {*self.upstreams, "default"}, file, (*path, "upstream"))
        if spec.refuse is not None and spec.allow:
            self.wrong(file, path, "got both refuse and allow, expected one of the two")
        return Effect(
            refuse=_message(spec.refuse),
            allow=bool(spec.allow),
            plan=spec.plan,
            budgets=self.budget_list(file, (*path, "budgets"), spec.budgets, owner, Subject.ACCOUNT),
            upstream=spec.upstream,
            mark=bool(spec.mark),
            carriers=self._carriers(file, path, spec.carriers),
            holdout=spec.holdout or 0.0,
            sample=bool(spec.sample),
            max_output_tokens=spec.max_output_tokens,
            max_choices=spec.max_choices,
            drop_logprobs=bool(spec.drop_logprobs),
            hide_reasoning=bool(spec.hide_reasoning),
            delay_s=spec.delay or 0.0,
        )

    def all_rules(self) -> tuple[Rule, ...]:
        rules: list[Rule] = []
        for file in self.files:
            rules += self._access(file, len(rules))
            for index, spec in enumerate(file.model.rules):
                rules.append(self.rule(file, ("rules", index), spec, len(rules)))
        return tuple(rules)

    def _access(self, file: ReadFile, index: int) -> list[Rule]:
        """The section ``access`` as rules, so that a more specific rule may allow what it refuses."""
        spec, refuse = file.model.access, Effect(refuse=NOT_ALLOWED)
        rules = []
        if spec.deny_countries is not None:
            match = Match(country=frozenset(spec.deny_countries))
            place = self.place(file, ("access", "deny_countries"))
            rules.append(Rule(name="access/deny_countries", index=index, match=match, effect=refuse, place=place))
        if spec.verified_only is not None:
            match = Match(model=spec.verified_only, verified=False)
            place = self.place(file, ("access", "verified_only"))
            rules.append(Rule(name="access/verified_only", index=index + 1, match=match, effect=refuse, place=place))
        return rules

    def standings(self) -> dict[Level, Effect]:
        found: dict[Level, Effect] = {}
        seen: dict[str, Place] = {}
        for file in self.files:
            for level in (Level.WATCH, Level.SUSPECT, Level.CONFIRMED):
                spec: StandingSpec | None = getattr(file.model.standings, level.value)
                path: Path = ("standings", level.value)
                if spec is not None and self.once(seen, level.value, "level", file, path):
                    found[level] = self._standing(file, path, spec, level)
        return found

    def _carriers(self, file: ReadFile, path: Path, names: Sequence[str] | None) -> tuple[str, ...]:
        for name in names or ():
            self.known("carrier", name, {*CARRIERS, BEHAVIOUR}, file, (*path, "carriers"))
        return tuple(names or ())

    def _standing(self, file: ReadFile, path: Path, spec: StandingSpec, level: Level) -> Effect:
        self.known("plan", spec.cluster_plan, set(self.plans), file, (*path, "cluster_plan"))
        plan = self.plans.get(spec.cluster_plan or "")
        # Named without the level, so that what a cluster spent stays spent when its level changes.
        shared = tuple(
            Budget(
                name=f"cluster/{budget.name}",
                subject=Subject.CLUSTER,
                unit=budget.unit,
                limit=budget.limit,
                window=budget.window,
                shadow=budget.shadow,
                on_store_error=budget.on_store_error,
            )
            for budget in (plan.budgets if plan is not None else ())
            if budget.subject is Subject.ACCOUNT
        )
        own = self.budget_list(
            file, (*path, "cluster_budgets"), spec.cluster_budgets, f"cluster/{level.value}", Subject.CLUSTER
        )
        return Effect(
            refuse=_message(spec.refuse),
            budgets=shared + own,
            mark=spec.mark,
            carriers=self._carriers(file, path, spec.carriers),
            holdout=spec.holdout or 0.0,
            sample=spec.sample,
            max_output_tokens=spec.max_output_tokens,
            max_choices=spec.max_choices,
            drop_logprobs=spec.drop_logprobs,
            hide_reasoning=spec.hide_reasoning,
            delay_s=spec.delay or 0.0,
        )

    def exemptions(self) -> tuple[Exemption, ...]:
        found: list[Exemption] = []
        for file in self.files:
            for index, spec in enumerate(file.model.exempt):
                found.append(self._exemption(file, ("exempt", index), spec, len(found)))
        return tuple(found)

    def _exemption(self, file: ReadFile, path: Path, spec: ExemptSpec, index: int) -> Exemption:
        self.once(self.names, spec.name, "rule", file, (*path, "name"))
        match = self.match(file, (*path, "match"), spec.match)
        if match == Match():
            self.wrong(file, (*path, "match"), "got an exemption for everybody, expected at least one condition")
        rule = Rule(
            name=spec.name, index=index, match=match, place=self.place(file, path), description=spec.description
        )
        return Exemption(rule=rule, spared=frozenset(spec.from_ or EXEMPTIONS))

    def default_plan(self) -> str:
        name = self.single("default_plan", None)
        if not self.plans:
            self.wrong(self.files[0], (), "got no plans, expected at least one under 'plans' in one of the files")
            return ""
        for file in self.files:
            self.known("plan", file.model.default_plan, set(self.plans), file, ("default_plan",))
        return name if name is not None else next(iter(self.plans))

    def parts(self) -> Parts:
        """Everything, checked. Raises FileErrors with all that is wrong."""
        self.all_plans()
        self.all_upstreams()
        shared: tuple[Budget, ...] = ()
        for file in self.files:
            shared += self.budget_list(file, ("budgets",), file.model.budgets, "all", Subject.ACCOUNT)
        rules = self.all_rules()
        parts = Parts(
            default_plan=self.default_plan(),
            plans=self.plans,
            default_output_tokens=self.single("default_output_tokens", 4096),
            budgets=shared,
            rules=rules,
            kill=tuple(pattern for file in self.files for pattern in file.model.access.kill or ()),
            standings=self.standings(),
            exempt=self.exemptions(),
            upstreams=self.upstreams,
            pass_through=self.pass_through(),
            prices=self.prices(),
            analysis=AnalysisPolicy(
                alpha=self.single("analysis.alpha", 1e-6),
                families=self.single("analysis.families", 2),
                horizon_s=self.single("analysis.horizon", 45 * 86_400.0),
            ),
            recording=self.recording(),
            hash=hash_of(self.files),
            places=self._places(),
        )
        if self.errors:
            raise FileErrors(self.errors)
        return parts

    def recording(self) -> RecordingPolicy:
        """What is kept; an error where something says ``sample`` and nothing says under which key, for how long."""
        spec: SamplesSpec | None = self.single("recording.samples", None)
        retention_s = self.single("recording.retention", 30 * 86_400.0)
        if spec is None:
            for file, where in self._sampling():
                said = "got sample, expected recording.samples too: under which key samples are kept, and for how long"
                self.wrong(file, where, said)
            return RecordingPolicy(retention_s=retention_s)
        file = next(file for file in self.files if file.model.recording.samples is not None)
        path: Path = ("recording", "samples", "key")
        key = self.resolved(file, path, spec.key) or ""
        if self.environ is not None and self.environ.get(spec.key[2:-1]) and not is_key(key):
            said = "got a key of another form, expected 32 bytes in base64: distillguard recordings keygen prints one"
            self.wrong(file, path, said)
        return RecordingPolicy(
            retention_s=retention_s, samples=SamplesPolicy(key=Secret(key), retention_s=spec.retention)
        )

    def _sampling(self) -> Iterator[tuple[ReadFile, Path]]:
        """Where requests are said to be kept in full."""
        for file in self.files:
            for index, rule in enumerate(file.model.rules):
                if rule.then.sample:
                    yield file, ("rules", index, "then", "sample")
            for level in ("watch", "suspect", "confirmed"):
                standing = getattr(file.model.standings, level)
                if standing is not None and standing.sample:
                    yield file, ("standings", level, "sample")

    def _places(self) -> dict[str, Place]:
        """Where budgets, plans and the kill switch stand."""
        places = self.budgets | {f"plan {name}": place for name, place in self.plan_places.items()}
        for file in self.files:
            if file.model.access.kill is not None:
                places["access kill"] = self.place(file, ("access", "kill"))
            for level in file.model.standings.model_fields_set:
                places[f"standing {level}"] = self.place(file, ("standings", level))
        return places


def _looks_at_suspicion(spec: RuleSpec) -> bool:
    """Whether what the rule does shows a caller that it is distrusted."""
    distrusted = set(spec.match.level or ()) - {"none"}
    return bool(distrusted) or (spec.if_ is not None and "level" in spec.if_.names)


def _message(spec: RefuseSpec | None) -> str | None:
    return None if spec is None else spec.message or NOT_ALLOWED


def hash_of(files: Sequence[ReadFile]) -> str:
    """16 hexadecimal digits of what the files say (not of comments, layout, or resolved secrets)."""
    said = [file.document.data for file in files]
    return hashlib.sha256(orjson.dumps(said, option=orjson.OPT_SORT_KEYS)).hexdigest()[:16]


def compile_policies(files: Sequence[ReadFile], environ: Mapping[str, str] | None) -> PolicySet:
    """The set that ``files`` write; ``environ`` None leaves ``${NAME}`` unread (only to check).

    Raises FileErrors with every mistake that spans keys or files.
    """
    return PolicySet(_Compiler(files=files, environ=environ).parts())
