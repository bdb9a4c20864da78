"""Downloads from the Hugging Face Hub, by the optional package huggingface_hub in a child process.

What comes lies in a cache of our own, `<models>/.paddock/hf`, in the hub's own layout, so that
`hub.look` finds it like any other; nothing is written elsewhere. A download ends with its caller:
the child is killed when it is cancelled.
"""

from __future__ import annotations

import asyncio
import contextlib
import importlib.util
import json
import os
import shutil
import sys
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from paddock.core.digest import Digest, parse_digest
from paddock.errors import Retry, SourceError

_CHILD = (
    "-P",
    "-m",
    "paddock.edges.hub_child",
)  # -P: nothing is imported from the folder we are in
_LINE_BYTES = 1 << 20
_STDERR_BYTES = 2000
_XET = ".xet"
_FILE_MODE = 0o644
_DIR_MODE = 0o755

Progress = Callable[[int, int], None]


@dataclass(frozen=True, slots=True)
class Request:
    """What to download: the files that `patterns` mean, of one repository at one revision."""

    repo: str
    revision: str
    patterns: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Downloaded:
    """A file that came: where it lies in its snapshot, and what the hub says that it is."""

    path: Path
    claim: Digest | None

    @property
    def real_path(self) -> Path:
        """The blob itself."""
        return self.path.resolve()


async def download(
    request: Request, cache: Path, token: str | None, progress: Progress
) -> tuple[Downloaded, ...]:
    """Download files into `cache`; what is there already is not fetched again.

    `progress` is told the bytes that are there and those that there will be. Raises SourceError.
    """
    if importlib.util.find_spec("huggingface_hub") is None:
        what = f"{request.repo} is not in the local cache, and huggingface_hub is not installed"
        hint = f"run: pip install 'paddock[hf]', or download it: hf download {request.repo}"
        raise SourceError(f"{what}; {hint}", reason="DownloaderMissing", retry=Retry.STALLED)
    clear_partial(cache)
    child = await _start(cache)
    try:
        asked = {
            "repo": request.repo,
            "revision": request.revision,
            "patterns": request.patterns,
            "cache": str(cache),
            "token": token,
        }
        came = await _follow(child, asked, progress)
        shutil.rmtree(cache / _XET, ignore_errors=True)  # of use only to take up a download again
        return came
    finally:
        # Whatever ends the wait ends the download too; its stdin is open until then.
        if child.returncode is None:
            with contextlib.suppress(ProcessLookupError):
                child.kill()
        await child.wait()
        clear_partial(cache)


async def _start(cache: Path) -> asyncio.subprocess.Process:
    return await asyncio.create_subprocess_exec(
        sys.executable,
        *_CHILD,
        stdin=asyncio.subprocess.PIPE,
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.PIPE,
        env=_environment(os.environ, cache),
        limit=_LINE_BYTES,
        start_new_session=True,  # Ctrl-C is for us to pass on
    )


def _environment(environ: Mapping[str, str], cache: Path) -> dict[str, str]:
    """Our own, with all that the library would write elsewhere kept in its cache, and blobs as
    plain files."""
    hidden = {"HF_HUB_DISABLE_SYMLINKS", "HF_HUB_ENABLE_HF_TRANSFER"}
    ours = {
        "HF_HUB_DISABLE_SHARED_BLOBS": "1",
        "HF_HUB_DISABLE_TELEMETRY": "1",
        "HF_XET_CACHE": str(cache / _XET),
    }
    return {key: value for key, value in environ.items() if key not in hidden} | ours


async def _follow(
    child: asyncio.subprocess.Process, asked: Mapping[str, Any], progress: Progress
) -> tuple[Downloaded, ...]:
    assert child.stdin is not None
    assert child.stdout is not None
    assert child.stderr is not None
    errors = asyncio.create_task(_tail(child.stderr))
    try:
        with contextlib.suppress(ConnectionError):  # it is dead already: its stderr says why
            child.stdin.write(json.dumps(asked).encode() + b"\n")
            await child.stdin.drain()
        async for line in child.stdout:
            message = json.loads(line)
            if "done" in message:
                progress(message["done"], message["total"])
            else:
                return _answer(message)
        words = (await errors).strip().rpartition("\n")[2] or "no word"
        what = f"the download of {asked['repo']} ended before its end: {words}"
        raise SourceError(what, reason="DownloadFailed")
    finally:
        errors.cancel()


async def _tail(stream: asyncio.StreamReader) -> str:
    kept = b""
    while chunk := await stream.read(_STDERR_BYTES):
        kept = (kept + chunk)[-_STDERR_BYTES:]
    return kept.decode("utf-8", "replace")


def _answer(message: Mapping[str, Any]) -> tuple[Downloaded, ...]:
    if "error" in message:
        retry = Retry(message["retry"])
        raise SourceError(message["error"], reason=message["reason"], retry=retry)
    return tuple(
        Downloaded(Path(f["path"]), f["sha256"] and parse_digest(f"sha256:{f['sha256']}"))
        for f in message["files"]
    )


def clear_partial(cache: Path) -> None:
    """Remove what a download left behind that was killed: the library never takes it up again
    (huggingface_hub:file_download.py _download_to_tmp_and_move). Only under the store's lock."""
    for partial in cache.glob("models--*/blobs/*.incomplete"):
        with contextlib.suppress(OSError):
            partial.unlink()


def discard(file: Downloaded) -> None:
    """Remove a file that came, link and blob, so that it is downloaded anew."""
    for path in (file.real_path, file.path):
        with contextlib.suppress(FileNotFoundError):
            path.unlink()


def opened_up(cache: Path) -> Iterator[Path]:
    """Every file and folder of the cache, given the modes of a store whatever our umask."""
    for path in (cache, *cache.rglob("*")) if cache.exists() else ():
        if not path.is_symlink():
            path.chmod(_DIR_MODE if path.is_dir() else _FILE_MODE)
        yield path
