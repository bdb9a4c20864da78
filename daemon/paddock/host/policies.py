"""What the file says of each model's memory at this moment, as requests ask for it.

Owns nothing but the last answer for each model with a schedule, kept until its next window opens or
closes: that is worked out from days and zones, which a request has no time for. Decides nothing:
`core/policy.py` does.
"""

from __future__ import annotations

from collections.abc import Callable
from datetime import UTC, datetime, tzinfo
from typing import NamedTuple

from paddock.core.desired import DesiredModel
from paddock.core.names import Name
from paddock.core.policy import Policy, policy_at

_ANY_TIME = datetime.max.replace(tzinfo=UTC)  # where there is no schedule


class _Kept(NamedTuple):
    model: DesiredModel
    zone: tzinfo
    since: datetime
    policy: Policy


class Policies:
    """The policies of declared models."""

    def __init__(self, now: Callable[[], datetime] = lambda: datetime.now(UTC)) -> None:
        self._now = now
        self._kept: dict[Name, _Kept] = {}

    def of(self, model: DesiredModel, zone: tzinfo) -> Policy:
        """The policy that holds now."""
        if not model.residency.schedule:
            return policy_at(model.residency, zone, _ANY_TIME)
        now = self._now()
        kept = self._kept.get(model.name)
        if kept is None or not _holds(kept, model, zone, now):
            kept = _Kept(model, zone, now, policy_at(model.residency, zone, now))
            self._kept[model.name] = kept
        return kept.policy


def _holds(kept: _Kept, model: DesiredModel, zone: tzinfo, now: datetime) -> bool:
    """A clock that was put back may stand before the window that was found."""
    same = kept.model is model and kept.zone is zone
    return same and kept.since <= now and (kept.policy.until is None or now < kept.policy.until)
