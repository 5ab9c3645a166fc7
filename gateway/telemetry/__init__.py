"""What an operator sees of a running gateway: metrics for Prometheus, one JSON object a line for logs.

Invariants: labels are bounded whatever callers send; nothing that looks like a credential and no text of a
prompt or reply gets into either. Leaves out: the HTTP routes that serve them, and events (room ``events``).
"""

from gateway.telemetry.logs import configure_logging
from gateway.telemetry.metrics import Metrics

__all__ = ["Metrics", "configure_logging"]
