"""Policies: files that say who may use what, how much of it, and what a standing means.

``load_policies`` gives a ``PolicySet`` that decides requests; ``PolicyWatcher`` keeps one up to date. The
room does no I/O after loading, reads no clock, and never sees the analysis: a standing reaches it as data.
"""

from __future__ import annotations

from gateway.policy.decide import PolicySet
from gateway.policy.load import check_policies, load_policies, shipped_policies
from gateway.policy.parts import AnalysisPolicy, CustomerPlan, PassThrough, RecordingPolicy, SamplesPolicy, UpstreamSpec
from gateway.policy.watch import PolicyWatcher

__all__ = [
    "AnalysisPolicy",
    "CustomerPlan",
    "PassThrough",
    "PolicySet",
    "PolicyWatcher",
    "RecordingPolicy",
    "SamplesPolicy",
    "UpstreamSpec",
    "check_policies",
    "load_policies",
    "shipped_policies",
]
