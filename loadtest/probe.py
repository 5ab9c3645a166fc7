"""How long a server leaves a small question waiting; a program of its own.

    python -m loadtest.probe ADMIN_PORT SECONDS

Asks ``/livez`` over one connection, again a few milliseconds after each answer, and prints the 99th percentile and the
longest wait. On a busy machine part of it is the wait for a processor: compare with the same while nothing else is asked.
"""

from __future__ import annotations

import http.client
import json
import sys
import time

_PAUSE_S = 0.002


def main() -> None:
    """Ask until time is up."""
    waits_s = []
    connection = http.client.HTTPConnection("127.0.0.1", int(sys.argv[1]), timeout=30)
    until_s = time.monotonic() + float(sys.argv[2])
    while (asked_s := time.monotonic()) < until_s:
        connection.request("GET", "/livez")
        answer = connection.getresponse()
        answer.read()
        if answer.status != http.HTTPStatus.OK:
            raise SystemExit(f"got {answer.status} from /livez, expected 200")
        waits_s.append(time.monotonic() - asked_s)
        time.sleep(_PAUSE_S)
    connection.close()
    waits_s.sort()
    print(json.dumps({"p99_ms": 1e3 * waits_s[int(len(waits_s) * 0.99)], "longest_ms": 1e3 * waits_s[-1]}))


if __name__ == "__main__":
    main()
