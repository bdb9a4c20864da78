"""The errors of Paddock, and what each means for the next attempt.

The type decides what happens next, not the caller: a person must act (`Retry.STALLED`), wait for a
known time (`Retry.WAIT`), or try again with backoff (`Retry.BACKOFF`). Only `engine/loop.py`
reads it.

    PaddockError
    ├── SpecError             models.yaml is invalid; carries every diagnostic
    ├── SettingsError         a setting, option or credential is invalid
    ├── InvalidName           not a name in Ollama's grammar
    ├── InvalidDigest         not a sha256 digest
    ├── InvalidManifest       a manifest that does not parse
    ├── InvalidGguf           not a usable GGUF header
    ├── SourceError           a source file is missing, unreadable, or changed while it was read
    ├── StoreError            the models folder cannot be read or written as needed
    ├── LockedError           another Paddock holds the store
    └── OllamaError           Ollama refused, or failed
        ├── OllamaUnreachable nobody answers at the address
        └── OllamaRefused     Ollama answered 4xx: the same request will be refused again
"""

from __future__ import annotations

import enum
import errno
import json
from collections.abc import Sequence
from dataclasses import dataclass


class Retry(enum.Enum):
    """What happens after an error."""

    BACKOFF = "backoff"
    WAIT = "wait"
    STALLED = "stalled"


class PaddockError(Exception):
    """Any error that Paddock raises on purpose: one line for a person, and what comes next."""

    reason = "Failed"
    retry = Retry.BACKOFF
    exit_code = 1

    def __init__(self, message: str, *, reason: str | None = None, retry: Retry | None = None):
        super().__init__(message)
        self.message = message
        if reason is not None:
            self.reason = reason
        if retry is not None:
            self.retry = retry


@dataclass(frozen=True, slots=True, order=True)
class Diagnostic:
    """One thing that is wrong in a file, at a place (1-based line and column)."""

    file: str
    line: int
    column: int
    where: str
    what: str
    hint: str

    def __str__(self) -> str:
        where = f"{self.where}: " if self.where else ""
        hint = f"; {self.hint}" if self.hint else ""
        return f"{self.file}:{self.line}:{self.column}: {where}{self.what}{hint}"


class SpecError(PaddockError):
    """models.yaml is invalid. `diagnostics` holds every problem, in the order of the file."""

    reason = "SpecInvalid"
    retry = Retry.STALLED
    exit_code = 10

    def __init__(self, diagnostics: Sequence[Diagnostic]):
        self.diagnostics = tuple(sorted(diagnostics))
        super().__init__("\n".join(map(str, self.diagnostics)))


class SettingsError(PaddockError):
    """A setting or an option is invalid."""

    reason = "SettingsInvalid"
    retry = Retry.STALLED
    exit_code = 64


class InvalidName(PaddockError):
    """Text that is not a model name in Ollama's grammar, or one that Ollama could not serve."""

    reason = "InvalidName"
    retry = Retry.STALLED


class InvalidDigest(PaddockError):
    """Text that is not `sha256:` and 64 hexadecimal digits."""

    reason = "InvalidDigest"
    retry = Retry.STALLED


class InvalidManifest(PaddockError):
    """Bytes that are not a manifest."""

    reason = "InvalidManifest"


class InvalidGguf(PaddockError):
    """Bytes that are not a GGUF header, or one that breaks a bound."""

    reason = "InvalidGGUF"
    retry = Retry.STALLED


class SourceError(PaddockError):
    """A source file cannot be used; `reason` says why (SourceMissing, SourceUnreadable, ...)."""

    reason = "SourceUnreadable"


class StoreError(PaddockError):
    """The models folder cannot be read or written as needed; `reason` says why."""

    reason = "StoreFailed"


class LockedError(PaddockError):
    """Another Paddock holds this store; `holder` is its own line about itself."""

    reason = "Locked"
    retry = Retry.STALLED
    exit_code = 12

    def __init__(self, message: str, *, holder: str):
        super().__init__(message)
        self.holder = holder


class OllamaError(PaddockError):
    """Ollama failed to do something."""

    reason = "OllamaFailed"


class OllamaUnreachable(OllamaError):
    """Nobody answers at Ollama's address, or it does not answer in time."""

    reason = "OllamaUnreachable"
    exit_code = 11


class OllamaRefused(OllamaError):
    """Ollama answered 4xx: the same request would be refused again."""

    reason = "OllamaRefused"
    retry = Retry.STALLED

    def __init__(self, message: str, *, status: int):
        super().__init__(message)
        self.status = status


_SHOWN_CHARS = 300


def words(error: Exception) -> str:
    """An error in a few lower-case words."""
    if isinstance(error, PaddockError):
        return error.message
    text = error.strerror if isinstance(error, OSError) and error.strerror else str(error)
    return text[:1].lower() + text[1:]


def shown(text: str) -> str:
    """A path or a name as one short line that can be printed: quoted where it is not that."""
    if text.isprintable() and len(text) <= _SHOWN_CHARS:
        return text
    half = _SHOWN_CHARS // 2
    return json.dumps(text if len(text) <= _SHOWN_CHARS else f"{text[:half]}…{text[-half:]}")


def listed(names: Sequence[str], most: int = 5) -> str:
    """The first few of some names as one line, and how many more there are."""
    shown = ", ".join(names[:most])
    return f"{shown} and {len(names) - most} more" if len(names) > most else shown


_WRITING = {
    errno.ENOSPC: ("NoSpace", "free some space"),
    errno.EDQUOT: ("NoSpace", "free some space, or raise the quota"),
    errno.EROFS: ("ReadOnly", "the file system is read-only; mount it writable"),
    errno.EACCES: ("NotPermitted", "see who owns the folder that it lies in, and its mode"),
    errno.EPERM: ("NotPermitted", "run as the owner of the models folder"),
    errno.ENOTDIR: ("StoreBroken", "a file stands where a folder must be; move it away"),
    errno.EISDIR: ("StoreBroken", "a folder stands where a file must be; move it away"),
    errno.ELOOP: ("StoreBroken", "a link stands where none may be; remove it"),
}


def store_error(path: object, error: OSError) -> StoreError:
    """What failed in writing below the models folder, where, and what to do."""
    reason, hint = _WRITING.get(error.errno or 0, ("StoreFailed", "see the file system"))
    return StoreError(f"cannot write {path}: {words(error)}; {hint}", reason=reason)
