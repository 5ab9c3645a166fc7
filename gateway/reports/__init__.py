"""Incident reports: what one cluster did, why it was acted upon and by whom, for people and for other programs.

``gather`` adds up a cluster's events; ``write_html``, ``write_json`` and ``write_stix`` say the same thing in three
forms. No credential, prompt, reply, address or signature leaves in any of them.
"""

from __future__ import annotations

from gateway.reports.events import all_events
from gateway.reports.incident import Incident, gather
from gateway.reports.page import write_html
from gateway.reports.plain import write_json
from gateway.reports.stix import write_stix

__all__ = ["Incident", "all_events", "gather", "write_html", "write_json", "write_stix"]
