"""The images' health check: ask the component in this container whether it is ready.

`python3 -m covey_core.healthcheck COVEY_RELAY_OPS_ADDR` reads `host:port` from that setting and exits with 0 when
`GET /readyz` answers 200 within two seconds. It runs every few seconds: stdlib only, nothing of Covey is imported.
"""

import http.client
import os
import sys

DEADLINE_SECONDS = 2.0
_OK = 200
_ANY = {"0.0.0.0": "127.0.0.1", "": "127.0.0.1", "::": "::1"}  # noqa: S104 - compared with, never bound


def main() -> int:
    """Return 0 when ready, 1 when not or not reachable, 2 when called wrongly; the reason goes to stdout."""
    if len(sys.argv) != 2 or sys.argv[1] not in os.environ:  # noqa: PLR2004 - program and one argument
        sys.stdout.write("usage: python3 -m covey_core.healthcheck NAME_OF_THE_SETTING_WITH_HOST_AND_PORT\n")
        return 2
    host, _, port = os.environ[sys.argv[1]].rpartition(":")
    host = host.strip("[]")
    connection = http.client.HTTPConnection(_ANY.get(host, host), int(port), timeout=DEADLINE_SECONDS)
    try:
        connection.request("GET", "/readyz")
        answer = connection.getresponse()
        sys.stdout.write(answer.read(512).decode("utf-8", "replace"))
    except (OSError, http.client.HTTPException) as problem:
        sys.stdout.write(f"no answer: {problem}\n")
        return 1
    finally:
        connection.close()
    return 0 if answer.status == _OK else 1


if __name__ == "__main__":
    sys.exit(main())
