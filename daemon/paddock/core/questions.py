"""Questions: the actions that find something out, and which of them ask the same.

Pure. A file is hashed once, whichever models it belongs to, and however often a plan asks for it;
a model that is being loaded is not loaded again for a reason that has changed meanwhile.
"""

from __future__ import annotations

from paddock.core.desired import Desired, FromFile
from paddock.core.files import further_parts
from paddock.core.names import Name
from paddock.core.observed import Observed, SourceFile
from paddock.core.plan import (
    Action,
    DownloadFile,
    HashSource,
    LoadModel,
    ProbeModel,
    PullModel,
    SetKeepAlive,
)
from paddock.core.suspend import suspended


def question(action: Action) -> object:
    """What an action finds out: two that ask the same are one."""
    match action:
        case PullModel(reference=reference):
            return reference
        case DownloadFile(files=files):
            return files
        case HashSource(stat=stat):
            return stat
        case ProbeModel(key=key):
            return key
        case LoadModel(name=name) | SetKeepAlive(name=name):
            return type(action), name
        case _:
            return action


def unverified(desired: Desired, observed: Observed) -> tuple[HashSource, ...]:
    """The hashes that would prove what was taken at its word: no plan asks for them."""
    open_facts = {
        path: fact
        for path, fact in observed.sources.items()
        if isinstance(fact, SourceFile) and fact.digest is not None and fact.proof != "hashed"
    }
    if not open_facts:
        return ()
    names: dict[str, Name] = {}
    asleep = suspended(desired, observed.ledger)
    for name, model in sorted(desired.models.items(), reverse=True):
        if isinstance(model.source, FromFile) and name not in asleep:
            for path in (file.path for file in model.source.files):
                fact = observed.sources.get(path)
                parts = () if fact is None else further_parts(path, fact)
                names |= dict.fromkeys((path, *parts), name)
    return tuple(
        HashSource(
            name=names[path],
            reason="Unverified",
            message=f"verify {path}",
            symbol="~",
            path=path,
            stat=fact.stat,
        )
        for path, fact in sorted(open_facts.items())
        if path in names
    )
