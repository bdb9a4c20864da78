"""The status of the publish trees: one condition of the host.

Pure. Apart from the models: what is wrong with a folder of links keeps no model from being Ready.
"""

from __future__ import annotations

from paddock.core.conditions import Fact
from paddock.core.model_status import Cycle
from paddock.core.plan import PublishLink, UnpublishLink
from paddock.core.view import View

# What stays as it is for good, and is no trouble.
_SETTLED = frozenset({"PathTaken", "SplitModel"})


def published(cycle: Cycle, view: View | None) -> Fact | None:
    """Whether the trees hold what they shall; None where there are none, and none is left."""
    if view is None or cycle.plan is None:
        return ("Unknown", "NotObserved", "not looked at yet") if cycle.desired.publish else None
    if not cycle.desired.publish and not view.ledger.published:
        return None
    for action in cycle.plan.actions:
        if isinstance(action, PublishLink | UnpublishLink):
            why = cycle.failures.get(action.subject, action)
            return "False", why.reason, why.message
    notes = cycle.plan.notes
    trouble = [note for note in notes if note.reason not in _SETTLED]
    if trouble:
        return "Unknown", trouble[0].reason, _and_more(trouble[0].message, len(trouble))
    claims = view.ledger.published.values()
    links = sum(claim.thing.kind == "link" for claim in claims)
    what = f"{links} links" if links != 1 else "1 link"
    if notes:
        return "True", notes[0].reason, f"{what}; {_and_more(notes[0].message, len(notes))}"
    return "True", "AsDeclared", what


def _and_more(text: str, count: int) -> str:
    return text if count == 1 else f"{text} (and {count - 1} more)"
