"""Settings of the analysis: one frozen value; policy files are read elsewhere and arrive here as data."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

MATCH_BITS: Final = 12.0
"""A request matches a template from here on: about seven words that are all but unknown outside of it."""


@dataclass(frozen=True, slots=True, kw_only=True)
class AnalysisConfig:
    """How sure, how long and how much.

    ``alpha`` bounds the chance that a benign group is ever enforced; a verdict needs a combined e-value of
    at least ``1 / alpha`` from at least ``families`` families, each with ``family_e`` or more. No family
    counts for more than ``alpha ** -0.6``, so that one alone can never reach the bound.
    """

    alpha: float = 1e-6
    families: int = 2
    family_e: float = 8.0
    silenced: frozenset[str] = frozenset()
    """Families that do not count: to see what each is worth, or where one is known to mislead."""
    benign_share: float = 0.02
    """Share of a benign group that may repeat each other's linkage values without being one operator."""
    benign_adoption: float = 0.015
    """Share of the active account holders that a benign new template gathers at most. In the benign part of
    the development logs no new template gathered as many as eight unrelated holders of some 1,500."""
    benign_gathering: float = 12.0
    """Holders that a benign new template may gather before the population has shown larger ones: half as many
    again as ``min_entities``; the bound that counts in large populations, together with the largest seen."""
    tied_share: float = 0.75
    """Where a text is not new, so many of its senders must be tied to each other before all of them are acted on."""
    benign_steady: float = 0.3
    """Share of a benign group's holders that are programs without a rhythm of day and night."""
    watch_e: float = 1_000.0
    """Groups with this combined e-value are written down (level ``watch``) without consequences."""
    warm_up_s: float = 1.5 * 86_400.0
    """Templates that were there in the first day and a half are not called new."""
    benign_replay: float = 0.01
    """Share of the active account holders that show a conversation or signature of a stranger: in the benign
    part of the development logs 0.8 % (composed conversations collide there), signatures none."""
    horizon_s: float = 45 * 86_400.0
    """Accounts, phrases and templates not seen for so long are forgotten, and of a log that is read
    again older events are not entered: the length of the longest reported campaign."""
    verdict_s: float = 14 * 86_400.0
    """A verdict expires so long after its evidence was last renewed."""
    tick_s: float = 1_800.0
    """Event time between passes over what emerges."""
    full_pass_s: float = 3 * 86_400.0
    """Event time between passes over everything."""
    min_entities: int = 8
    """Fewer independent account holders are never a group: a team, a class register, a family."""
    phrase_slots_log2: int = 21
    """Size of the table of phrases seen once; 16 bytes a slot."""
    exempt_uses: frozenset[str] = frozenset({"synthetic-data", "evaluation"})
    """Declared uses whose accounts never become members; the policy may name others."""

    @property
    def family_cap(self) -> float:
        """The most that one family may count for."""
        return float(self.alpha**-0.6)
