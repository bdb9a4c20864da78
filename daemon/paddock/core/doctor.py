"""Doctor: what stands in the way of a host, told before or after it hurts.

Pure. Each check gives one finding or more, in the order in which a person would mend them: the
file, Ollama, its models folder, the files, the daemon. What the last cycle knows of models is not
judged anew: what it blocks is told as it is.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any, Literal

from paddock.core.plan import Blocked
from paddock.core.unknown import Unknown

Verdict = Literal["ok", "warning", "failed"]

OLDEST = (0, 24)
SAFE_PS = (0, 32, 4)  # below it /api/ps may end the server (ollama/ollama#15528)
LOW_BYTES = 1 << 30


@dataclass(frozen=True, slots=True)
class Finding:
    """What one check found. `hint` says what to do, where something is to be done."""

    check: str
    verdict: Verdict
    message: str
    hint: str = ""

    def to_json(self) -> dict[str, str]:
        """The JSON of one finding."""
        told = {"check": self.check, "verdict": self.verdict, "message": self.message}
        return told | ({"hint": self.hint} if self.hint else {})


@dataclass(frozen=True, slots=True)
class Keeper:
    """The daemon that keeps the store, what it says that it cannot watch, and of the server that it
    starts whether that answers, and how it stands."""

    holder: str
    answers: bool
    unwatched: str | None = None
    server: tuple[bool, str] | None = None


@dataclass(frozen=True, slots=True)
class Facts:
    """What was found out. `spec` is the file's problems, or how many models it declares; `ollama`
    the server's version; `store` what keeps us from reading or writing it."""

    file: str
    spec: Sequence[str] | int
    url: str
    ollama: str | Unknown
    models_dir: str
    store: str | None
    free_bytes: int | None = None
    blocked: Sequence[Blocked] = ()
    keeper: Keeper | None = None


def examine(facts: Facts) -> tuple[Finding, ...]:
    """Every finding."""
    checks = (_spec, _ollama, _store, _space, _models, _daemon)
    return tuple(finding for check in checks for finding in check(facts))


def document(findings: Sequence[Finding]) -> dict[str, Any]:
    """The JSON of `paddock doctor -o json`."""
    return {"format_version": 1, "findings": [finding.to_json() for finding in findings]}


def _spec(facts: Facts) -> Iterator[Finding]:
    if isinstance(facts.spec, int):
        models = "1 model" if facts.spec == 1 else f"{facts.spec} models"
        yield Finding("file", "ok", f"{facts.file} is valid and declares {models}")
        return
    for problem in facts.spec:
        yield Finding("file", "failed", problem)


def _ollama(facts: Facts) -> Iterator[Finding]:
    if isinstance(facts.ollama, Unknown):
        hint = "start it, or set OLLAMA_HOST; without a service: paddock run --managed"
        yield Finding("ollama", "failed", facts.ollama.message, hint)
        return
    told = f"Ollama {facts.ollama} answers at {facts.url}"
    version = version_of(facts.ollama)
    if version is not None and version < OLDEST:
        yield Finding("ollama", "failed", told, "Paddock needs Ollama 0.24 or newer")
    elif version is not None and version < SAFE_PS:
        hint = "before 0.32.4 a look at what is loaded may end the server; upgrade it"
        yield Finding("ollama", "warning", told, hint)
    else:
        yield Finding("ollama", "ok", told)


def version_of(text: str) -> tuple[int, ...] | None:
    """A version as numbers; None for one that says nothing, as `0.0.0` of a build by hand."""
    found = re.match(r"\d+(?:\.\d+)*", text)
    numbers = () if found is None else tuple(map(int, found[0].split(".")))
    return numbers if any(numbers) else None


def _store(facts: Facts) -> Iterator[Finding]:
    if facts.store is not None:
        yield Finding("store", "failed", facts.store)
    else:
        yield Finding("store", "ok", f"{facts.models_dir} can be written")


def _space(facts: Facts) -> Iterator[Finding]:
    if facts.free_bytes is not None and facts.free_bytes < LOW_BYTES:
        what = f"{facts.models_dir}: {facts.free_bytes >> 20} MiB are free"
        yield Finding("space", "warning", what, "links need little, but pulls will fail")


def _models(facts: Facts) -> Iterator[Finding]:
    for blocked in facts.blocked:
        yield Finding("models", "failed", f"{blocked.name}: {blocked.message} ({blocked.reason})")


def _daemon(facts: Facts) -> Iterator[Finding]:
    keeper = facts.keeper
    if keeper is None:
        hint = "apply once with: paddock apply; keep it so with: paddock run"
        yield Finding("daemon", "warning", "no daemon keeps this store", hint)
        return
    if keeper.answers:
        yield Finding("daemon", "ok", f"{keeper.holder} answers")
    else:
        hint = "see its log; it may be starting or stopping"
        yield Finding("daemon", "failed", f"{keeper.holder} does not answer", hint)
    if keeper.unwatched is not None:
        yield Finding("daemon", "warning", keeper.unwatched)
    if keeper.server is not None:
        serves, message = keeper.server
        yield Finding("server", "ok" if serves else "failed", message)
