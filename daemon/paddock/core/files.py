"""The files of a model: which there are, what each must be, and which of its digests counts.

Pure. A split GGUF is found from its first part: the others lie beside it under names that only
differ in their number. What is wrong with a file is one line for its model.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Literal, TypeAlias

from paddock.core.desired import File, FromFile, Trust
from paddock.core.digest import Digest, parse_digest, short
from paddock.core.gguf import Facts
from paddock.core.observed import SourceFact, SourceFile, SourceMissing, Unknown
from paddock.errors import shown

Role: TypeAlias = Literal["model", "part", "projector", "adapter", "draft"]
PARTS: frozenset[Role] = frozenset({"model", "part"})

# Names of parts, as Ollama and llama.cpp know them (ollama:server/create.go, llama-gguf-split).
_PART_NAME = re.compile(r"(?P<stem>.*)-(?P<number>\d{5})-of-(?P<count>\d{5})\.gguf", re.DOTALL)
_HUB_BLOB = re.compile(r"/models--[^/]+/blobs/([0-9a-f]{64})$")
_OLLAMA_BLOB = re.compile(r"/blobs/sha256-([0-9a-f]{64})$")
_WANTED: Mapping[Role, tuple[str, ...]] = {
    "model": ("model",),
    "part": ("model",),
    "projector": ("projector",),
    "adapter": ("adapter",),
    "draft": ("draft", "model"),
}

_NAMES: Mapping[Role, tuple[str, str]] = {
    "model": ("a model", "NotAModel"),
    "part": ("a model", "NotAModel"),
    "projector": ("a projector", "NotAProjector"),
    "adapter": ("an adapter", "NotAnAdapter"),
    "draft": ("a draft", "NotADraft"),
}


@dataclass(frozen=True, slots=True)
class Refused:
    """Why a file cannot be used: `reason` in CamelCase, `message` for a person. `gone` says that
    the file is not there, or not what it was declared to be."""

    reason: str
    message: str
    gone: bool = False


@dataclass(frozen=True, slots=True)
class UsableFile:
    """A file that can be linked once its digest is known."""

    role: Role
    path: str
    source: SourceFile
    facts: Facts
    digest: Digest | None


def part_paths(path: str, count: int) -> tuple[str, ...] | None:
    """The paths of all parts of a split GGUF, from the path of its first one; None where that is
    not named as a first part."""
    found = _PART_NAME.fullmatch(path)
    if found is None or int(found["number"]) != 1 or int(found["count"]) != count:
        return None
    return tuple(f"{found['stem']}-{n:05}-of-{count:05}.gguf" for n in range(1, count + 1))


def further_parts(path: str, fact: SourceFact) -> tuple[str, ...]:
    """The paths of the other parts of what turned out to be the first part of a split GGUF."""
    if not isinstance(fact, SourceFile) or fact.facts is None:
        return ()
    count = fact.facts.split_count or 1
    return (part_paths(path, count) or ())[1:] if count > 1 else ()


def trusted(files: Iterable[File], claim: Digest | None) -> Digest | None:
    """What is taken at its word: the file's sha256 before the name in a cache."""
    claims = (file.sha256 or claim for file in files if file.trust is Trust.NAME)
    return next((found for found in claims if found is not None), None)


def claim_of(path: str) -> Digest | None:
    """The digest that the name of a blob claims: in a Hugging Face cache, where a name of 64
    digits is that of a large file, and in a models folder of Ollama's."""
    found = _HUB_BLOB.search(path) or _OLLAMA_BLOB.search(path)
    return None if found is None else parse_digest(f"sha256:{found[1]}")


def believed(fact: SourceFile, file: File) -> Digest | None:
    """The digest that counts for this file: one that is only claimed, only where it is trusted."""
    trusts = file.trust is Trust.NAME or fact.proof != "claimed"
    return fact.digest if trusts else None


def usable_files(
    source: FromFile, sources: Mapping[str, SourceFact]
) -> tuple[UsableFile, ...] | Refused:
    """Every file of a model, the GGUF's parts first; or what is wrong with the first bad one."""
    usable: list[UsableFile] = []
    for role, file in _roles(source):
        found = _usable(role, file, sources.get(file.path))
        if isinstance(found, Refused):
            return found
        usable.append(found)
        if role == "model":
            parts = _parts(found, file, sources)
            if isinstance(parts, Refused):
                return parts
            usable.extend(parts)
    return _twice(usable) or _misfit(usable) or tuple(usable)


def _roles(source: FromFile) -> Iterator[tuple[Role, File]]:
    yield "model", source.model
    if source.projector is not None:
        yield "projector", source.projector
    for adapter in source.adapters:
        yield "adapter", adapter
    if source.draft is not None:
        yield "draft", source.draft


def _usable(role: Role, file: File, fact: SourceFact | None) -> UsableFile | Refused:
    match fact:
        case SourceFile(problem=None, facts=Facts() as facts):
            refused = _refusal(role, file.path, facts) or _mismatch(file, fact)
            return refused or UsableFile(role, file.path, fact, facts, believed(fact, file))
        case SourceFile(problem=Unknown(reason, message)):
            return Refused(reason, message)
        case SourceFile():
            return Refused("SourceUnreadable", f"cannot read the header of {file.path}")
        case SourceMissing(message):
            leads = message.partition(" does not exist")[2]
            what = f'source "{shown(file.path)}" does not exist{leads}'
            return Refused("SourceMissing", f"{what}; create it or set state: absent", gone=True)
        case Unknown():
            return Refused(fact.reason, fact.message)
        case None:
            return Refused("SourceUnknown", f'source "{file.path}" was not looked at')


def _parts(
    first: UsableFile, file: File, sources: Mapping[str, SourceFact]
) -> list[UsableFile] | Refused:
    """The further parts of a split GGUF, each of the set and in its place."""
    count = first.facts.split_count or 1
    if count == 1:
        return []
    paths = part_paths(first.path, count)
    if paths is None or first.facts.split_no not in (0, None):
        return Refused("SplitPart", _not_the_first(first, count))
    parts: list[UsableFile] = []
    for number, path in enumerate(paths[1:], 1):
        found = _usable("part", File(path, trust=file.trust), sources.get(path))
        if isinstance(found, Refused):
            return found
        if (found.facts.split_count, found.facts.split_no) != (count, number):
            what = f'"{path}" is not part {number + 1} of {count}, as its name says'
            return Refused("SplitPart", f"{what}; download it again")
        parts.append(found)
    return parts


def _not_the_first(file: UsableFile, count: int) -> str:
    number = (file.facts.split_no or 0) + 1
    what = f'"{file.path}" is part {number} of {count} of a split GGUF'
    if number > 1:
        return f"{what}; name its first part, with the others beside it"
    return f"{what}, but not named so; name it …-00001-of-{count:05}.gguf, the others alike"


def _refusal(role: Role, path: str, facts: Facts) -> Refused | None:
    if facts.byte_order == "big":
        return Refused("BigEndian", f'"{path}" is a big-endian GGUF, which Ollama cannot read')
    if role not in PARTS and (facts.split_count or 1) > 1:
        return Refused("SplitUnsupported", f'"{path}" is a part of a split GGUF; merge the parts')
    if facts.kind not in _WANTED[role]:
        wanted, reason = _NAMES[role]
        what = f'"{shown(path)}" is a GGUF of the kind "{facts.kind}", not {wanted}'
        return Refused(reason, f"{what}; name the {wanted.split()[-1]}'s own file")
    return None


def _mismatch(file: File, fact: SourceFile) -> Refused | None:
    if file.sha256 is None or fact.digest in (None, file.sha256) or fact.proof == "claimed":
        return None
    what = f'"{file.path}" is {short(fact.digest or file.sha256)}'
    hint = f"the file pins {short(file.sha256)}; mend one of them"
    return Refused("DigestMismatch", f"{what}; {hint}", gone=True)


def _twice(files: Sequence[UsableFile]) -> Refused | None:
    seen: dict[tuple[int, int], UsableFile] = {}
    for file in files:
        stat = file.source.stat
        first = seen.setdefault((stat.device, stat.inode), file)
        if first is not file:
            what = f'"{shown(file.path)}" is the same file as "{shown(first.path)}"'
            return Refused("SameFile", f"{what}; a model takes each file once")
    return None


def _misfit(files: Sequence[UsableFile]) -> Refused | None:
    """llama.cpp applies an adapter to its own architecture only, and Ollama tells no reason."""
    model = files[0].facts.architecture
    for file in files:
        if file.role == "adapter" and file.facts.architecture != model:
            what = f'"{shown(file.path)}" is an adapter for {file.facts.architecture}'
            return Refused("AdapterMisfit", f"{what}, and the model is {model}; name another one")
    return None
