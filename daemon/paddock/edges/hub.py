"""The caches of the Hugging Face Hub on this host: where they are, and what is in them.

Reads their layout itself, offline and without the hub's library: refs/<revision> names a commit,
snapshots/<commit>/ holds links to blobs/<etag>. A file is given by its path in the snapshot, not
resolved: one link on is the name that claims its SHA-256, further on there may be another name that
is none (huggingface_hub:utils/_shared_blobs.py). Never writes; `hub_download` does.
"""

from __future__ import annotations

import errno
import os
from collections.abc import Mapping
from pathlib import Path
from typing import TypeAlias

from paddock.core.hub import (
    Chosen,
    HubFile,
    HubFound,
    NotOne,
    choose,
    is_commit,
    not_one,
    repo_folder,
)
from paddock.core.observed import SourceMissing, Unknown
from paddock.errors import Retry, SourceError

_GONE = frozenset({errno.ENOENT, errno.ENOTDIR, errno.ELOOP})
_REF_BYTES = 256
_CREDENTIAL = "hf-token"
_LOCALLY = "in the local cache"

HubLook: TypeAlias = HubFound | SourceMissing | Unknown


def cache_roots(environ: Mapping[str, str]) -> tuple[Path, ...]:
    """The caches of this user, those of llama.cpp first where it has one of its own.

    As the hub finds its own (huggingface_hub:constants.py) and llama.cpp the same layout.
    """
    home = environ.get("HF_HOME") or os.path.join(  # noqa: PTH118  as written, for expandvars
        environ.get("XDG_CACHE_HOME") or "~/.cache", "huggingface"
    )
    hub = environ.get("HF_HUB_CACHE") or environ.get("HUGGINGFACE_HUB_CACHE") or f"{home}/hub"
    roots = [environ["LLAMA_CACHE"], hub] if environ.get("LLAMA_CACHE") else [hub]
    return tuple(dict.fromkeys(Path(_expand(root, environ)).absolute() for root in roots))


def _expand(path: str, environ: Mapping[str, str]) -> str:
    if path.startswith("~/") and environ.get("HOME"):
        path = environ["HOME"] + path[1:]
    return os.path.expandvars(os.path.expanduser(path))  # noqa: PTH111


def find_token(setting: str | None, environ: Mapping[str, str]) -> str | None:
    """The token to download with: the setting, else systemd's credential `hf-token`. None leaves it
    to the hub's library, which takes $HF_TOKEN, else the file of `hf auth login`. Raises
    SourceError where a credential is there and cannot be read."""
    folder = environ.get("CREDENTIALS_DIRECTORY")
    if setting or not folder:
        return setting or None
    path = Path(folder, _CREDENTIAL)
    try:
        return path.read_text(encoding="ascii").strip() or None
    except FileNotFoundError:
        return None
    except (OSError, UnicodeError) as error:
        what = f"cannot read the credential {path}: {_words(error)}"
        raise SourceError(what, reason="TokenUnreadable", retry=Retry.STALLED) from error


def look(wanted: HubFile, roots: tuple[Path, ...]) -> HubLook:
    """The file in the first cache that has it, or why it cannot be told.

    Where a cache cannot be read the later ones do not count: a model shall not move to another file
    because of a hiccup.
    """
    for root in roots:
        try:
            found = _look_in(root, wanted)
        except OSError as error:
            where = error.filename or root
            what = f"cannot look for {wanted} in {where}: {_words(error)}"
            hint = "make the cache readable for the user that runs paddock"
            return Unknown("SourceUnreadable", f"{what}; {hint}")
        if found is not None:
            return found
    return SourceMissing(not_one(wanted, NotOne(several=False, near=()), _LOCALLY))


def _look_in(root: Path, wanted: HubFile) -> HubFound | Unknown | None:
    base = root / repo_folder(wanted.repo)
    commit = _commit(base, wanted.revision)
    if commit is None:
        return None
    snapshot = base / "snapshots" / commit
    choice = choose(wanted.pattern, _files(snapshot))
    if isinstance(choice, Chosen):
        return HubFound(str(snapshot / choice.first))
    if not choice.several:
        return None
    return Unknown("SourceAmbiguous", not_one(wanted, choice, _LOCALLY))


def _commit(base: Path, revision: str) -> str | None:
    """The commit of a revision, as the cache knows it. Raises OSError."""
    if is_commit(revision):
        return revision
    try:
        with (base / "refs" / revision).open("rb") as file:
            text = file.read(_REF_BYTES).decode("ascii", "replace").strip()
    except OSError as error:
        if error.errno in {*_GONE, errno.EISDIR}:
            return None
        raise
    return text if is_commit(text) else None


def _files(snapshot: Path) -> list[str]:
    """The files of a snapshot that are there; one whose blob was pruned is not. Raises OSError."""
    found: list[str] = []
    for folder, _, names in os.walk(snapshot, onerror=_unless_gone):
        for name in names:
            path = os.path.join(folder, name)  # noqa: PTH118  of many files
            if _is_there(path):
                found.append(path[len(str(snapshot)) + 1 :])
    return found


def _unless_gone(error: OSError) -> None:
    if error.errno not in _GONE:
        raise error


def _is_there(path: str) -> bool:
    try:
        os.stat(path)  # noqa: PTH116
    except OSError as error:
        _unless_gone(error)
        return False
    return True


def _words(error: Exception) -> str:
    text = error.strerror if isinstance(error, OSError) and error.strerror else str(error)
    return text[:1].lower() + text[1:]
