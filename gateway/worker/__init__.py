"""The analysis at work: events in, verdicts out, beside the gateway and never in its way.

``core`` feeds the analyzer and publishes what it finds; ``sources`` reads the events (files or a Redis stream);
``snapshot`` keeps the state so that a kill loses nothing; ``lease`` lets one of several workers lead;
``loop`` puts them together; ``child`` runs the loop as a child process of a gateway.

What holds: an event counts once, whatever died in between; the gateway needs none of this to answer; a verdict
reaches it through the standing table only.
"""

from __future__ import annotations
