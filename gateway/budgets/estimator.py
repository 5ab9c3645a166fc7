"""How many tokens a request will spend, before anything was tokenised: a ratio that learns.

Input is estimated from the number of characters by a ratio per (family, model) that follows what upstreams
report: an exponentially weighted mean, bounded, with the family's own ratio for models not seen before. A
margin above the mean makes underestimates rare; what remains is bounded by the settlement that follows.
"""

from __future__ import annotations

from collections import OrderedDict
from typing import TYPE_CHECKING

from gateway.types import Amounts, Family

if TYPE_CHECKING:
    from gateway.types import Plan, RequestFacts, Usage

FIRST_RATIO = {Family.OPENAI: 0.3, Family.ANTHROPIC: 0.33}
"""Tokens per character before anything was learned: a little above English prose with either vendor."""
LOWEST, HIGHEST = 0.05, 2.0
"""Bounds of a ratio: 20 characters a token (long runs of spaces) to 2 tokens a character (rare scripts)."""
WEIGHT = 0.05
MARGIN = 1.15
FIXED_TOKENS = 8
"""What a request's frame costs beyond its text."""
MODELS = 512
LEARN_FROM_CHARS = 200
"""Shorter texts say more about the frame than about the ratio."""


class Estimator:
    """Bounded memory: the ``MODELS`` last used; a caller's invented model names only push out each other's."""

    def __init__(self) -> None:
        self._ratios: OrderedDict[tuple[Family, str], float] = OrderedDict()
        self._family = dict(FIRST_RATIO)

    def ratio(self, family: Family, model: str) -> float:
        """Tokens per character."""
        return self._ratios.get((family, model), self._family[family])

    def estimate(self, facts: RequestFacts, plan: Plan) -> Amounts:
        """What to reserve: 1 request, the input by the ratio, the output by the larger declared cap (or the
        plan's default) lowered by the plan's, times the choices; the cost by the plan's price.
        """
        ratio = min(HIGHEST, self.ratio(facts.family, facts.model) * MARGIN)
        input_tokens = FIXED_TOKENS + int(facts.input_chars * ratio)
        output_tokens = 0
        if facts.makes_output:
            cap = facts.max_output_tokens if facts.max_output_tokens is not None else plan.default_output_tokens
            if plan.max_output_tokens is not None:
                cap = min(cap, plan.max_output_tokens)
            choices = max(1, facts.choices)
            if plan.max_choices is not None:
                choices = max(1, min(choices, plan.max_choices))
            output_tokens = max(0, cap) * choices
        return _amounts(input_tokens, output_tokens, plan)

    def amounts(self, facts: RequestFacts, usage: Usage, plan: Plan) -> Amounts:
        """What to settle. Input that was not reported is the estimate without its margin, never less than
        what was counted: unknown is neither zero nor the worst case.
        """
        input_tokens = usage.input_tokens
        if not usage.reported:
            guess = FIXED_TOKENS + int(facts.input_chars * self.ratio(facts.family, facts.model))
            input_tokens = max(input_tokens, guess)
        return _amounts(input_tokens, usage.output_tokens, plan)

    def learn(self, facts: RequestFacts, usage: Usage) -> None:
        """Follow what the upstream reported; anything else teaches nothing."""
        if not usage.reported or usage.input_tokens <= 0 or facts.input_chars < LEARN_FROM_CHARS:
            return
        seen = min(HIGHEST, max(LOWEST, (usage.input_tokens - FIXED_TOKENS) / facts.input_chars))
        key = (facts.family, facts.model)
        before = self._ratios.pop(key, self._family[facts.family])
        self._ratios[key] = before + WEIGHT * (seen - before)
        self._family[facts.family] += WEIGHT / 5 * (seen - self._family[facts.family])
        if len(self._ratios) > MODELS:
            self._ratios.popitem(last=False)


def _amounts(input_tokens: int, output_tokens: int, plan: Plan) -> Amounts:
    return Amounts(
        requests=1,
        input_tokens=input_tokens,
        output_tokens=output_tokens,
        cost_microusd=plan.price.cost_microusd(input_tokens, output_tokens),
    )
