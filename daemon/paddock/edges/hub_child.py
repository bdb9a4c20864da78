"""The process that downloads: `python -m paddock.edges.hub_child`, started by `hub_download`.

Alone imports the hub's library, which is large, reads its settings ($HF_ENDPOINT, $HF_HUB_OFFLINE,
$HF_HOME) once at import and cannot be interrupted: a process can be killed. Takes one JSON request
as a line on stdin, writes JSON lines to stdout, and ends when its parent does. Writes in the cache
that it is told, and nowhere else.
"""

from __future__ import annotations

import contextlib
import errno
import json
import os
import re
import sys
import threading
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from typing import IO, Any, Self

from paddock import __version__
from paddock.core.hub import Chosen, HubFile, NotOne, choose, not_one
from paddock.errors import Retry, SourceError

_TIMEOUT_S = 30.0
_UNAUTHORIZED = (401, 403)
_ERRNO = re.compile(r"^\[Errno -?\d+\] ")

Tell = Callable[[Mapping[str, Any]], None]


def main() -> None:
    """Serve one request. The answer is the only thing on stdout: others' words go to stderr."""
    answers = os.fdopen(os.dup(1), "w", encoding="utf-8")
    os.dup2(2, 1)
    request = json.loads(sys.stdin.readline())
    threading.Thread(target=_end_with_parent, args=(sys.stdin,), daemon=True).start()

    def tell(message: Mapping[str, Any]) -> None:
        answers.write(json.dumps(message) + "\n")
        answers.flush()

    try:
        tell({"files": list(fetch(request, tell))})
    except SourceError as error:
        tell({"error": error.message, "reason": error.reason, "retry": error.retry.value})


def _end_with_parent(stdin: IO[str]) -> None:
    stdin.read()
    os._exit(1)


def fetch(request: Mapping[str, Any], tell: Tell) -> Iterator[Mapping[str, Any]]:
    """Download what each pattern means, and give each file's path, size and SHA-256 (where the hub
    knows one). Raises SourceError."""
    from huggingface_hub import HfApi, get_token

    wanted = [HubFile(request["repo"], request["revision"], p) for p in request["patterns"]]
    api = HfApi(token=request["token"], library_name="paddock", library_version=__version__)
    has_token = bool(request["token"] or get_token())
    with _explained(wanted[0], api.endpoint, has_token=has_token):
        info = api.model_info(
            wanted[0].repo, revision=wanted[0].revision, files_metadata=True, timeout=_TIMEOUT_S
        )
    offered = {file.rfilename: file for file in info.siblings or ()}
    names = list(dict.fromkeys(n for ask in wanted for n in _chosen(ask, offered, api.endpoint)))
    meter = _Meter(tell, sum(offered[name].size or 0 for name in names))
    for name in names:
        with _explained(wanted[0], api.endpoint, has_token=has_token):
            path = api.hf_hub_download(
                wanted[0].repo,
                name,
                revision=wanted[0].revision,
                cache_dir=request["cache"],
                tqdm_class=meter.bar(),
            )
        meter.begin_next(offered[name].size or 0)
        lfs = offered[name].lfs
        yield {"path": path, "size": offered[name].size, "sha256": lfs and lfs.sha256}


def _chosen(wanted: HubFile, offered: Mapping[str, Any], endpoint: str) -> tuple[str, ...]:
    choice = choose(wanted.pattern, offered)
    match choice:
        case Chosen():
            return choice.parts
        case NotOne():
            reason = "SourceAmbiguous" if choice.several else "NotInHub"
            message = not_one(wanted, choice, f"at {endpoint}")
            raise SourceError(message, reason=reason, retry=Retry.STALLED)


@dataclass(slots=True)
class _Meter:
    """The bytes of all files so far, told as the library's progress bar moves."""

    tell: Tell
    total: int
    before: int = 0

    def begin_next(self, size_bytes: int) -> None:
        """One file is whole, whatever its bar said."""
        self.before += size_bytes
        self.moved(0)

    def moved(self, done: int) -> None:
        """Tell that `done` bytes of this file are there."""
        self.tell({"done": self.before + done, "total": self.total})

    def bar(self) -> type[Any]:
        """A class that the library takes for tqdm's."""
        meter = self

        class Bar(_Bar):
            def moved(self) -> None:
                meter.moved(self.n)

        return Bar


class _Bar:
    """As much of tqdm as huggingface_hub calls. With `update_transfer` it makes one bar for bytes
    on disk and not a second one for those on the wire (huggingface_hub:utils/
    _xet_progress_reporting.py)."""

    def __init__(self, *_: object, total: int | None = None, initial: int = 0, **__: object):
        self.total = total
        self.n = initial

    def moved(self) -> None:
        """Tell of `n`."""

    def update(self, count: float | None = 1) -> None:
        """So many bytes more; fewer, when a part has to be fetched again."""
        self.n += int(count or 0)
        self.moved()

    def nothing(self, *_: object, **__: object) -> None:
        """What matters only on a terminal."""

    update_transfer = set_transfer_postfix_str = set_postfix_str = nothing
    refresh = close = set_description = reset = nothing

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        pass


@contextlib.contextmanager
def _explained(wanted: HubFile, endpoint: str, *, has_token: bool) -> Iterator[None]:
    """Whatever the library raises becomes a SourceError of one clear line; the errors of its
    transport differ by version."""
    try:
        yield
    except Exception as error:
        raise explain(_cause(error), wanted, endpoint, has_token=has_token) from error


def _cause(error: Exception) -> Exception:
    """What kept it from the hub, where the library says only that its cache lacks the file."""
    from huggingface_hub.errors import LocalEntryNotFoundError

    while isinstance(error, LocalEntryNotFoundError) and isinstance(error.__cause__, Exception):
        error = error.__cause__
    return error


def explain(error: Exception, wanted: HubFile, endpoint: str, *, has_token: bool) -> SourceError:
    """The library's error in our words: what a person can mend is Stalled, the rest is tried
    again."""
    from huggingface_hub import errors as hub

    repo, page = wanted.repo, f"{endpoint}/{wanted.repo}"
    match error:
        case hub.OfflineModeIsEnabled():
            what = f"{wanted} is not in the local cache, and HF_HUB_OFFLINE is set"
            reason, message = "HubOffline", f"{what}; unset it, or bring the file into the cache"
        case hub.GatedRepoError():
            reason, what = "HubGated", f"{repo} is gated; accept its terms at {page}"
            hint = "and let your token read it" if has_token else f"and {_TOKEN_HINT}"
            message = f"{what} {hint}"
        case hub.RevisionNotFoundError():
            what = f'{repo} has no revision "{wanted.revision}"'
            reason, message = "NotInHub", f"{what}; see its branches and tags at {page}"
        case hub.RepositoryNotFoundError():
            what = f"{page} does not exist, or is private"
            hint = "check its name and your token" if has_token else f"check it, or {_TOKEN_HINT}"
            reason, message = "NotInHub", f"{what}; {hint}"
        case hub.HfHubHTTPError():
            return _refused(error, wanted, endpoint)
        case OSError():
            return _local(error, wanted, endpoint)
        case _:
            return _unreachable(error, wanted, endpoint)
    return _stalled(reason, message)


_TOKEN_HINT = "set PADDOCK_HF_TOKEN or HF_TOKEN to a token that may read it"  # noqa: S105


def _refused(error: Any, wanted: HubFile, endpoint: str) -> SourceError:
    status = error.response.status_code
    if status in _UNAUTHORIZED:
        what = f"{endpoint} refuses the token for {wanted.repo} ({status})"
        return _stalled("HubRefused", f"{what}; make a new one that may read it")
    what = f"{endpoint} answers {status} for {wanted}"
    if 400 <= status < 500 and status not in {408, 429}:
        return _stalled("HubRefused", what)
    return SourceError(what, reason="HubFailed")


def _local(error: OSError, wanted: HubFile, endpoint: str) -> SourceError:
    if error.errno in {errno.ENOSPC, errno.EDQUOT}:
        what = f"no space is left to download {wanted}; free some space"
        return SourceError(what, reason="NoSpace")
    if error.errno is None or error.filename is None:
        return _unreachable(error, wanted, endpoint)
    what = f"cannot write {error.filename}: {_words(error)}"
    return SourceError(what, reason="DownloadFailed")


def _unreachable(error: Exception, wanted: HubFile, endpoint: str) -> SourceError:
    what = f"cannot download {wanted} from {endpoint}: {_words(error)}"
    return SourceError(what, reason="HubUnreachable")


def _stalled(reason: str, message: str) -> SourceError:
    return SourceError(message, reason=reason, retry=Retry.STALLED)


def _words(error: BaseException) -> str:
    text = error.strerror if isinstance(error, OSError) and error.strerror else str(error)
    line = _ERRNO.sub("", " ".join(text.split())) or type(error).__name__
    return line[:1].lower() + line[1:]


if __name__ == "__main__":
    main()
