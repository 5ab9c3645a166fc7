"""Traits, links, clusters, evidence, verdicts: events in, verdicts out.

``traits`` reads requests beside the request path; ``analyzer`` takes what it gives and decides; ``signatures``
brings what was learned back to the request path. Nothing here reads a clock, a file or the network, and
nothing imports the policy: settings arrive as ``AnalysisConfig``, verdicts leave as data.
"""
