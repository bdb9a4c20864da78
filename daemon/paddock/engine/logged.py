"""What the log says of an action that was carried out, or was not."""

from __future__ import annotations

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
