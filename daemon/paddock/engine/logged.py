"""What the log says of an action that was carried out, or was not."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence

import structlog

from paddock.core.outcome import Outcome

log = structlog.get_logger()


def log_outcome(outcome: Outcome) -> None:
    """One line: what was done is information, what failed a warning."""
    told = outcome.to_json()
    fields = {"model": told["name"], **{k: told[k] for k in ("action", "reason", "elapsed_s")}}
    match outcome.result:
        case "done":
            log.info(told["message"], **fields)
        case "failed":
            log.warning("action failed", error=told["message"], **fields)
        case "skipped":
            log.debug("action skipped", **fields)


def log_cycle(outcomes: Sequence[Outcome], elapsed_s: float) -> None:
    """One line for a cycle that did something, or failed to; none for any other."""
    results = Counter(outcome.result for outcome in outcomes)
    done, failed = results["done"], results["failed"]
    level = log.info if done or failed else log.debug
    level("cycle ended", done=done, failed=failed, elapsed_s=round(elapsed_s, 3))


def log_doubt(warning: str) -> None:
    """One line for what a file says and hardly means."""
    log.warning("file doubtful", warning=warning)
