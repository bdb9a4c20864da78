"""Model names in Ollama's grammar, and the case in which a store spells them.

Owns parsing, printing and comparing names (`ollama:types/model/name.go`, tried against it), the
tags that Ollama cannot serve from the store, and the scratch names of the header probe. A Name
that exists is valid, so its parts can be joined to a path without a check. Never looks at a store:
the names present come in as an argument.
"""

from __future__ import annotations

import functools
import json
import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import NoReturn

from paddock.errors import InvalidName

DEFAULT_HOST = "registry.ollama.ai"
DEFAULT_NAMESPACE = "library"
DEFAULT_TAG = "latest"
SCRATCH_HOST = "paddock.invalid"
SCRATCH_NAMESPACE = "probe"

_KINDS = ("host", "namespace", "model", "tag")
_MAX_CHARS = {"host": 350, "namespace": 80, "model": 80, "tag": 80}
_PUNCTUATION = {"host": "_-.:", "namespace": "_-", "model": "_-.", "tag": "_-."}
_PATTERNS = {
    kind: re.compile(rf"[A-Za-z0-9_][A-Za-z0-9{re.escape(_PUNCTUATION[kind])}]*") for kind in _KINDS
}
_FIRST = re.compile(r"[A-Za-z0-9_]")
_SCRATCH_MODEL = re.compile(r"[0-9a-f]{16}")
_SHOWN_CHARS = 120


class CaseConflict(InvalidName):
    """A part that the store spells in two cases, so that Ollama may not find the name."""

    reason = "CaseConflict"


@dataclass(frozen=True, slots=True, order=True)
class Name:
    """A full model name of four valid parts. Raises InvalidName when a part is not valid."""

    host: str
    namespace: str
    model: str
    tag: str

    def __post_init__(self) -> None:
        for kind, part in zip(_KINDS, self.parts, strict=True):
            problem = _problem(kind, part)
            if problem:
                _refuse("/".join(self.parts), problem)

    @classmethod
    def parse(cls, text: str) -> Name:
        """Reads a name that a person wrote; a part that is left out takes Ollama's default.

        A leading `scheme://` is dropped. Raises InvalidName, also for the tags `cloud`, `*-cloud`
        and `local`, which Ollama cuts off (`ollama:internal/modelref/modelref.go`).
        """
        name = cls.parse_api(text)
        if _is_reserved(name.tag):
            _refuse(text, f"Ollama keeps the tag {_quoted(name.tag)} to itself; use another tag")
        return name

    @classmethod
    def parse_api(cls, text: str) -> Name:
        """Reads a name as Ollama's answers hold it, whatever its tag. Raises InvalidName."""
        return _parsed(text)

    @classmethod
    def parse_request(cls, text: str) -> Name:
        """Reads a name as Ollama reads it in a request, so that one model has no second spelling.

        Space around it goes, and so does a last `:local`; `m:8b:cloud` becomes `m:8b-cloud`
        (`ollama:internal/modelref/modelref.go` NormalizePullName). Raises InvalidName.
        """
        base, source = _cut_source(text.strip())
        if source and _cut_source(base)[1]:
            _refuse(text, "it ends in two of :local and :cloud; keep one")
        if source == "cloud":
            base += "-cloud" if ":" in base.rpartition("/")[2] else ":cloud"
        return cls.parse_api(base)

    @classmethod
    def from_parts(cls, host: str, namespace: str, model: str, tag: str) -> Name:
        """Returns the name that a manifest's path on disk spells. Raises InvalidName."""
        return cls(host, namespace, model, tag)

    @property
    def parts(self) -> tuple[str, str, str, str]:
        """The four parts, which are also the manifest's relative path below `manifests/`."""
        return (self.host, self.namespace, self.model, self.tag)

    @property
    def full(self) -> str:
        """The name with nothing left out."""
        return f"{self.host}/{self.namespace}/{self.model}:{self.tag}"

    @property
    def short(self) -> str:
        """The name as `/api/tags` prints it (`ollama:types/model/name.go` DisplayShortest)."""
        tagged = f"{self.model}:{self.tag}"
        if self.host.lower() != DEFAULT_HOST:
            return f"{self.host}/{self.namespace}/{tagged}"
        if self.namespace.lower() != DEFAULT_NAMESPACE:
            return f"{self.namespace}/{tagged}"
        return tagged

    @property
    def display(self) -> str:
        """The name for people: `short` without `:latest`."""
        return self.short.removesuffix(f":{DEFAULT_TAG}")

    @property
    def folded(self) -> Name:
        """The name in lower case, for comparing: Ollama finds names whatever their case."""
        lower = self.host.lower(), self.namespace.lower(), self.model.lower(), self.tag.lower()
        return self if lower == self.parts else Name(*lower)

    @property
    def is_cloud(self) -> bool:
        """Whether a request by this name leaves the host for Ollama's cloud."""
        return _is_reserved(self.tag) and self.tag.lower() != "local"

    def __str__(self) -> str:
        return self.display


class Spelling:
    """The case of every part in a store, for giving new names the case that is there already.

    Ollama v0.33.0-rc2 takes each part's case from any manifest whose part folds equal, so that two
    cases of one part make names vanish at random; v0.34.4 looks for the whole name first
    (`ollama:server/routes.go` getExistingName).
    """

    def __init__(self, present: Iterable[Name]) -> None:
        self._cases: Mapping[str, dict[str, dict[str, Name]]] = {kind: {} for kind in _KINDS}
        for name in present:
            for kind, part in zip(_KINDS, name.parts, strict=True):
                cases = self._cases[kind].setdefault(part.lower(), {})
                cases[part] = min(cases.get(part, name), name)

    def respell(self, name: Name) -> Name:
        """Returns the name in the store's case; parts that are new stay. Raises CaseConflict."""
        parts = tuple(self._part(name, kind) for kind in _KINDS)
        return name if parts == name.parts else Name(*parts)

    def _part(self, name: Name, kind: str) -> str:
        written: str = getattr(name, kind)
        cases = self._cases[kind].get(written.lower(), {})
        if len(cases) > 1:
            _conflict(name, kind, cases)
        return next(iter(cases), written)


def scratch_name(hex16: str) -> Name:
    """Returns the probe's scratch name for 16 lower-case hexadecimal digits, or InvalidName."""
    if not _SCRATCH_MODEL.fullmatch(hex16):
        _refuse(hex16, "a scratch name is made of 16 lower-case hexadecimal digits")
    return Name(SCRATCH_HOST, SCRATCH_NAMESPACE, hex16, DEFAULT_TAG)


def is_scratch(name: Name) -> bool:
    """Tells whether `name` has exactly the form that `scratch_name` gives."""
    host, namespace, model, tag = name.parts
    place = (host, namespace, tag) == (SCRATCH_HOST, SCRATCH_NAMESPACE, DEFAULT_TAG)
    return place and _SCRATCH_MODEL.fullmatch(model) is not None


@functools.lru_cache(maxsize=1 << 16)  # a name is read wherever it is written or answered
def _parsed(text: str) -> Name:
    if "@" in text:
        _refuse(text, "a name cannot hold a digest; leave out '@' and what follows it")
    parts = _split(text)
    for kind, part in zip(_KINDS, parts, strict=True):
        problem = _problem(kind, part)
        if problem:
            _refuse(text, problem)
    return Name(*parts)


def _split(text: str) -> tuple[str, str, str, str]:
    """Cuts as `ollama:types/model/name.go` ParseNameBare does, from the end, and fills defaults."""
    head, colon, tag = text.rpartition(":")
    if not colon or "/" in tag:
        head, tag = text, DEFAULT_TAG
    head, slash, model = head.rpartition("/")
    if not slash:
        return DEFAULT_HOST, DEFAULT_NAMESPACE, model, tag
    host, slash, namespace = head.rpartition("/")
    if not slash:
        return DEFAULT_HOST, namespace, model, tag
    _, scheme, rest = host.partition("://")
    host = (rest or DEFAULT_HOST) if scheme else host
    return host, namespace, model, tag


def _cut_source(text: str) -> tuple[str, str]:
    """Cuts `:local`, `:cloud` or `-cloud` off the end, as modelref.go parseSourceSuffix does."""
    base, colon, last = text.rpartition(":")
    last = last.strip()
    if not colon or "/" in last or not _is_reserved(last):
        return text, ""
    if last.lower() in {"cloud", "local"}:
        return base, last.lower()
    return f"{base}:{last[: -len('-cloud')]}", "cloud"


@functools.lru_cache(maxsize=4096)  # thousands of names have most of their parts in common
def _problem(kind: str, part: str) -> str:
    """Says what is wrong with one part and what to do, or nothing (isValidPart)."""
    if not part:
        return f"the {kind} is empty; write one, or leave out its separator"
    if len(part) > _MAX_CHARS[kind]:
        return f"the {kind} has {len(part)} characters; use at most {_MAX_CHARS[kind]}"
    if _PATTERNS[kind].fullmatch(part):
        return ""
    if not _FIRST.match(part):
        return f"the {kind} begins with {_quoted(part[0])}; begin with a letter, a digit or '_'"
    bad = next(char for char in part if not _PATTERNS[kind].fullmatch("a" + char))
    allowed = " ".join(_PUNCTUATION[kind])
    return f"the {kind} holds {_quoted(bad)}; use letters, digits and {allowed}"


def _is_reserved(tag: str) -> bool:
    tag = tag.lower()
    return tag in {"cloud", "local"} or tag.endswith("-cloud")


def _conflict(name: Name, kind: str, cases: Mapping[str, Name]) -> NoReturn:
    (one, in_one), (two, in_two) = sorted(cases.items())[:2]
    raise CaseConflict(
        f"{name}: the store spells the {kind} both {_quoted(one)} (in {in_one}) and "
        f"{_quoted(two)} (in {in_two}), so Ollama may find neither; rename one of them"
    )


def _refuse(text: str, problem: str) -> NoReturn:
    raise InvalidName(f"{_quoted(text)} is not a model name: {problem}")


def _quoted(text: str) -> str:
    cut = text if len(text) <= _SHOWN_CHARS else text[:_SHOWN_CHARS] + "..."
    return json.dumps(cut)
