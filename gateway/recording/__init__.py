"""Live traffic written down in the format of ``replay``, so that an operator has something to replay.

``recorder`` takes what the request path hands over and never makes it wait, ``sketch`` takes the texts out of
bodies, ``segments`` owns the files. Leaves out: what is kept and for how long (policies say that).
"""

from __future__ import annotations

from gateway.recording.recorder import Recorder
from gateway.recording.sketch import Sketcher

__all__ = ["Recorder", "Sketcher"]
