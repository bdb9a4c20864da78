"""The Hugging Face Hub: names of repositories, revisions and files, and which file a glob means.

Pure. Owns the grammar of `source: {huggingface: ...}`, the layout of the hub's cache as names
(huggingface_hub:file_download.py), and the choice of one file among many. `edges/hub` looks and
downloads.
"""

from __future__ import annotations

import fnmatch
import re
from collections.abc import Collection, Iterable
from dataclasses import dataclass
from typing import TypeAlias

from paddock.errors import listed

DEFAULT_REVISION = "main"
OWN_CACHE = "/.paddock/hf/"  # below the models folder
_NAMES_SHOWN = 8
_MAX_PARTS = 1000  # more are no split GGUF, but a way to keep us busy

_REPO = re.compile(r"[A-Za-z0-9_](?:[A-Za-z0-9._-]{0,94}[A-Za-z0-9_])?")
_COMMIT = re.compile(r"[0-9a-f]{40}")
_ADDRESS = re.compile(
    r"(?:https?://|hf://)?(?:[\w.-]+\.(?:co|com)/)?(?:models/)?([\w.-]+/[\w.-]+).*"
)
_NOT_IN_REFS = re.compile(r"[\x00-\x20\x7f~^:?*\[\\]|\.\.|//|@\{")
_PART = re.compile(r"(?P<stem>.+)-(?P<number>\d{5})-of-(?P<count>\d{5})\.gguf", re.IGNORECASE)


@dataclass(frozen=True, slots=True, order=True)
class HubFile:
    """A file of a repository at a revision; `pattern` is its path there, or a glob."""

    repo: str
    revision: str
    pattern: str

    def __str__(self) -> str:
        return f"{self.pattern} of {self.repo} ({self.revision})"


@dataclass(frozen=True, slots=True)
class HubFound:
    """A file in a local cache: `path` is in the snapshot of its commit, under its own name."""

    path: str


@dataclass(frozen=True, slots=True)
class Chosen:
    """What a glob means: the parts of one split GGUF in order, or one file."""

    parts: tuple[str, ...]

    @property
    def first(self) -> str:
        """The file that stands for all."""
        return self.parts[0]


@dataclass(frozen=True, slots=True)
class NotOne:
    """What a glob does not mean: `several` files match, or none does. `near` are names to tell."""

    several: bool
    near: tuple[str, ...]


Choice: TypeAlias = Chosen | NotOne


def check_repo(text: str) -> str:
    """Returns the name of a repository. Raises ValueError, `what; what to do`."""
    names = text.split("/")
    bad = "--" in text or ".." in text or text.endswith(".git")
    if len(names) == 2 and all(map(_REPO.fullmatch, names)) and not bad:
        return text
    address = _ADDRESS.fullmatch(text)
    near = address and address[1] != text and address[1].count("/") == 1
    hint = f"write {address[1]}" if address and near else "write ORG/REPO, as on its page"
    raise ValueError(f"is not the name of a repository on the Hub; {hint}")


def check_revision(text: str) -> str:
    """Returns a branch, a tag or a commit. Raises ValueError, `what; what to do`."""
    parts = text.split("/")
    is_ref = all(p and p[0] not in ".-" and not p.endswith((".lock", ".")) for p in parts)
    if not is_ref or _NOT_IN_REFS.search(text) or len(text) > 255:
        raise ValueError("is no revision; write a branch, a tag or a commit, such as main")
    return text


def check_pattern(text: str) -> str:
    """Returns the path of a file in a repository, or a glob. Raises ValueError, `what; what to
    do`."""
    parts = text.split("/")
    if any(part in {"", ".", ".."} for part in parts) or "\\" in text or not text.isprintable():
        raise ValueError(
            "is not the path of a file in a repository; "
            'write it as its page shows it, or a glob such as "*q4_k_m.gguf"'
        )
    return text


def is_commit(revision: str) -> bool:
    """Whether a revision is a whole commit, which never moves."""
    return _COMMIT.fullmatch(revision) is not None


def repo_folder(repo: str) -> str:
    """The folder of a repository in a cache: `models--org--repo`."""
    return f"models--{repo.replace('/', '--')}"


def is_download(path: str) -> bool:
    """Whether a file lies where our own downloads do: a copy that is there for us alone."""
    return OWN_CACHE in path


def choose(pattern: str, files: Iterable[str]) -> Choice:
    """The one file that a path or glob means, case as it is; of a split GGUF all parts. A glob sees
    only names that end in .gguf, and its `*` also passes slashes, as the hub's own globs do."""
    every = frozenset(files)
    ggufs = {name for name in every if name.lower().endswith(".gguf")}
    matches = {pattern} & every or {n for n in ggufs if fnmatch.fnmatchcase(n, pattern)}
    if not matches:
        return NotOne(several=False, near=_near(pattern, ggufs))
    sets = {_split_set(name) for name in matches}
    if len(sets) > 1:
        return NotOne(several=True, near=tuple(sorted(matches)))
    (parts,) = sets
    missing = [part for part in parts if part not in every]
    return NotOne(several=False, near=()) if missing else Chosen(parts)


def _split_set(name: str) -> tuple[str, ...]:
    """All parts of the split GGUF that a name belongs to, or the name alone."""
    part = _PART.fullmatch(name)
    count = int(part["count"]) if part else 1
    if part is None or not 1 <= int(part["number"]) <= count <= _MAX_PARTS:
        return (name,)
    end = name[-len(".gguf") :]
    return tuple(f"{part['stem']}-{i:05d}-of-{count:05d}{end}" for i in range(1, count + 1))


def _near(pattern: str, ggufs: Collection[str]) -> tuple[str, ...]:
    """What may have been meant: the same in another case, else whatever there is."""
    folded = [name for name in ggufs if fnmatch.fnmatchcase(name.lower(), pattern.lower())]
    return tuple(sorted(folded or ggufs))


def not_one(wanted: HubFile, choice: NotOne, where: str) -> str:
    """One line that says why a glob means no file: `where` is `in the local cache`, or such."""
    shown = listed(choice.near, _NAMES_SHOWN)
    if choice.several:
        what = f'"{wanted.pattern}" matches several files of {wanted.repo} {where}: {shown}'
        return f"{what}; narrow it to one, such as file: {choice.near[0]}"
    what = f'no file of {wanted.repo} ({wanted.revision}) {where} matches "{wanted.pattern}"'
    return f"{what}; there are: {shown}" if choice.near else what
