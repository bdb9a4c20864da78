"""What tests of the triggers share: a daemon that no poll helps, and the rest that it comes to."""

from __future__ import annotations

import time

from real import RealOllama

NO_POLL = {"PADDOCK_POLL": "600", "PADDOCK_INTERVAL": "600"}
QUIET_S = 11.0  # longer than the time after which what is watched is looked at again


def settle(server: RealOllama) -> None:
    """Waits until the server is asked nothing for a while."""
    for _ in range(10):
        before = len(server.requests_log())
        time.sleep(QUIET_S)  # there is no event for nothing
        if len(server.requests_log()) == before:
            return
    raise AssertionError("the daemon does not come to rest")
