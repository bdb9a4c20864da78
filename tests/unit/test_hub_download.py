"""Downloads by the real huggingface_hub, from a stand-in for the hub on loopback."""

from __future__ import annotations

import asyncio
import importlib.util
import os
import random
import signal
import stat
import subprocess
import sys
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest

from hub_server import COMMIT, HubContent, HubServer, Repo
from paddock.core.digest import digest_of
from paddock.core.hub import HubFile, HubFound
from paddock.edges import hub_download
from paddock.edges.hub import look
from paddock.edges.hub_download import Downloaded, Request, clear_partial, discard, opened_up
from paddock.errors import Retry, SourceError

REPO = "Org/Model-GGUF"
SMALL, SEES = b"GGUF of four bits", b"GGUF that sees"
STEP = 10 * 1024 * 1024  # what the client reads at a time
TOKEN = "hf_secret"


@pytest.fixture
def cache(tmp_path: Path) -> Path:
    return tmp_path / "models" / ".paddock" / "hf"


@pytest.fixture
def server(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[HubServer]:
    for name in [name for name in os.environ if name.startswith(("HF_", "HUGGINGFACE_"))]:
        monkeypatch.delenv(name)
    monkeypatch.setenv("HF_HOME", str(tmp_path / "home"))
    files = {"model-q4_k_m.gguf": HubContent(SMALL), "vision/mmproj.gguf": HubContent(SEES)}
    with HubServer({REPO: Repo(files)}) as server:
        monkeypatch.setenv("HF_ENDPOINT", server.url)
        yield server


def big() -> bytes:
    """Content that the client reads in three steps, and no two parts of it alike."""
    return random.Random(1).randbytes(2 * STEP + 1000)


def partial(cache: Path) -> list[Path]:
    """What is half downloaded."""
    return list(cache.rglob("*.incomplete"))


async def fetch(
    cache: Path, *patterns: str, repo: str = REPO, revision: str = "main", token: str | None = None
) -> tuple[tuple[Downloaded, ...], list[tuple[int, int]]]:
    """What a download gave, and the progress that it told."""
    told: list[tuple[int, int]] = []
    request = Request(repo, revision, patterns or ("*q4_k_m.gguf",))
    files = await hub_download.download(
        request, cache, token, lambda done, total: told.append((done, total))
    )
    return files, told


async def refused(cache: Path, *patterns: str, **how: str) -> SourceError:
    """The error that a download ends with."""
    with pytest.raises(SourceError) as caught:
        await fetch(cache, *patterns, **how)
    assert "\n" not in caught.value.message
    assert not partial(cache)
    return caught.value


async def test_a_file_is_downloaded_into_our_own_cache_and_found_there(
    server: HubServer, cache: Path, tmp_path: Path
) -> None:
    (file,), told = await fetch(cache)
    assert file.path.read_bytes() == SMALL
    assert file.claim == digest_of(SMALL)
    assert look(HubFile(REPO, "main", "*q4*"), (cache,)) == HubFound(str(file.path))
    assert file.real_path.parent == cache / "models--Org--Model-GGUF" / "blobs"
    assert told[-1] == (len(SMALL), len(SMALL))
    assert not (tmp_path / "home").exists()


async def test_several_files_are_one_download_with_one_total(
    server: HubServer, cache: Path
) -> None:
    total = len(SMALL) + len(SEES)
    files, told = await fetch(cache, "*q4_k_m.gguf", "*mmproj*")
    assert [file.path.read_bytes() for file in files] == [SMALL, SEES]
    assert {entry[1] for entry in told} == {total}
    assert told[-1][0] == total
    assert [done for done, _ in told] == sorted(done for done, _ in told)


async def test_every_part_of_a_split_model_comes(server: HubServer, cache: Path) -> None:
    parts = [f"big-{number:05d}-of-00002.gguf" for number in (1, 2)]
    server.repos[REPO] = Repo({part: HubContent(part.encode()) for part in parts})
    files, _ = await fetch(cache, "*big*")
    assert [file.path.name for file in files] == parts


async def test_a_revision_is_downloaded_by_its_name_or_its_commit(
    server: HubServer, cache: Path
) -> None:
    server.repos[REPO].revisions = ("v1",)
    for revision in ("v1", COMMIT):
        (file,), _ = await fetch(cache, revision=revision)
        assert look(HubFile(REPO, revision, "*q4*"), (cache,)) == HubFound(str(file.path))


async def test_what_is_there_is_not_fetched_again(server: HubServer, cache: Path) -> None:
    first, _ = await fetch(cache)
    assert len(server.downloads()) == 1
    again, told = await fetch(cache)
    assert again == first
    assert len(server.downloads()) == 1
    assert told[-1] == (len(SMALL), len(SMALL))


async def test_a_connection_that_is_cut_goes_on_where_it_was(
    server: HubServer, cache: Path
) -> None:
    content = big()
    server.repos[REPO] = Repo({"big.gguf": HubContent(content)})
    server.cut_after = STEP + 500_000
    (file,), told = await fetch(cache, "big.gguf")
    assert digest_of(file.path.read_bytes()) == digest_of(content) == file.claim
    assert [asked.range for asked in server.downloads()] == [None, f"bytes={STEP}-"]
    assert [done for done, _ in told] == [STEP, 2 * STEP, len(content), len(content)]
    assert {total for _, total in told} == {len(content)}


async def test_a_cancelled_download_ends_at_once_and_leaves_nothing_half(
    server: HubServer, cache: Path
) -> None:
    server.repos[REPO] = Repo({"big.gguf": HubContent(big())})
    server.hold = threading.Event()
    task = asyncio.create_task(fetch(cache, "big.gguf"))
    assert await asyncio.to_thread(server.holding.wait, 60)
    assert len(partial(cache)) == 1
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    assert not partial(cache)
    server.hold.set()
    server.hold = None
    (file,), _ = await fetch(cache, "big.gguf")
    assert file.path.stat().st_size == 2 * STEP + 1000


async def test_a_download_whose_child_is_killed_is_told_and_tried_again(
    server: HubServer, cache: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    server.repos[REPO] = Repo({"model-q4_k_m.gguf": HubContent(big())})  # more than one step
    server.hold = threading.Event()
    started: list[asyncio.subprocess.Process] = []
    real_start = hub_download._start

    async def start(given: Path) -> asyncio.subprocess.Process:
        started.append(await real_start(given))
        return started[0]

    monkeypatch.setattr(hub_download, "_start", start)
    task = asyncio.create_task(refused(cache))
    assert await asyncio.to_thread(server.holding.wait, 60)
    started[0].send_signal(signal.SIGKILL)
    error = await task
    assert error.message == f"the download of {REPO} ended before its end: no word"
    assert (error.reason, error.retry) == ("DownloadFailed", Retry.BACKOFF)


def test_a_download_ends_with_its_parent(server: HubServer, cache: Path) -> None:
    """A daemon that is killed leaves no process behind that goes on writing."""
    server.repos[REPO] = Repo({"model-q4_k_m.gguf": HubContent(big())})
    server.hold = threading.Event()
    request = f'{{"repo": "{REPO}", "revision": "main", "patterns": ["*q4*"], "token": null, '
    request += f'"cache": "{cache}"}}\n'
    with subprocess.Popen(
        [sys.executable, *hub_download._CHILD], stdin=subprocess.PIPE, stdout=subprocess.PIPE
    ) as child:
        assert child.stdin is not None
        child.stdin.write(request.encode())
        child.stdin.flush()
        assert server.holding.wait(60)
        child.stdin.close()
        assert child.wait(60) == 1
    assert len(partial(cache)) == 1
    clear_partial(cache)
    assert not partial(cache)


async def test_a_token_is_sent_to_the_hub_and_not_to_where_it_sends_us(
    server: HubServer, cache: Path
) -> None:
    server.repos[REPO].token = TOKEN
    (file,), _ = await fetch(cache, token=TOKEN)
    assert file.path.read_bytes() == SMALL
    asked = {asked.path.split("/")[1]: asked.token for asked in server.requests}
    assert asked == {"api": TOKEN, "Org": TOKEN, "cdn": None}


@pytest.mark.parametrize("kind", ["variable", "file"])
async def test_without_a_setting_the_librarys_own_token_counts(
    kind: str, server: HubServer, cache: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    server.repos[REPO].token = TOKEN
    if kind == "variable":
        monkeypatch.setenv("HF_TOKEN", TOKEN)
    else:
        (tmp_path / "home").mkdir()
        (tmp_path / "home" / "token").write_text(TOKEN)
    (file,), _ = await fetch(cache)
    assert file.path.read_bytes() == SMALL


async def test_a_private_repository_says_that_a_token_is_needed(
    server: HubServer, cache: Path
) -> None:
    server.repos[REPO].token = TOKEN
    error = await refused(cache)
    assert error.message == (
        f"{server.url}/{REPO} does not exist, or is private; "
        "check it, or set PADDOCK_HF_TOKEN or HF_TOKEN to a token that may read it"
    )
    assert (error.reason, error.retry) == ("NotInHub", Retry.STALLED)
    wrong = await refused(cache, token="hf_wrong")
    assert wrong.message.endswith("; check its name and your token")
    assert "hf_wrong" not in wrong.message


async def test_a_gated_repository_says_where_its_terms_are(server: HubServer, cache: Path) -> None:
    server.repos[REPO].gated = True
    error = await refused(cache)
    assert error.message == (
        f"{REPO} is gated; accept its terms at {server.url}/{REPO} "
        "and set PADDOCK_HF_TOKEN or HF_TOKEN to a token that may read it"
    )
    assert (error.reason, error.retry) == ("HubGated", Retry.STALLED)
    with_token = await refused(cache, token=TOKEN)
    assert with_token.message.endswith("and let your token read it")


async def test_a_repository_that_is_not_there_is_told(server: HubServer, cache: Path) -> None:
    error = await refused(cache, repo="Org/None")
    assert error.message.startswith(f"{server.url}/Org/None does not exist, or is private; ")
    assert (error.reason, error.retry) == ("NotInHub", Retry.STALLED)


async def test_a_revision_that_is_not_there_is_told(server: HubServer, cache: Path) -> None:
    error = await refused(cache, revision="v9")
    assert error.message == (
        f'{REPO} has no revision "v9"; see its branches and tags at {server.url}/{REPO}'
    )
    assert (error.reason, error.retry) == ("NotInHub", Retry.STALLED)


async def test_a_file_that_is_not_there_is_told_with_those_that_are(
    server: HubServer, cache: Path
) -> None:
    error = await refused(cache, "*Q4_K_M.gguf")
    assert error.message == (
        f'no file of {REPO} (main) at {server.url} matches "*Q4_K_M.gguf"; '
        "there are: model-q4_k_m.gguf"
    )
    assert (error.reason, error.retry) == ("NotInHub", Retry.STALLED)
    assert not server.downloads()


async def test_several_files_are_told_and_none_is_downloaded(
    server: HubServer, cache: Path
) -> None:
    error = await refused(cache, "*.gguf")
    assert "matches several files" in error.message
    assert (error.reason, error.retry) == ("SourceAmbiguous", Retry.STALLED)
    assert not server.downloads()


async def test_a_hub_that_is_down_is_tried_again(server: HubServer, cache: Path) -> None:
    server.down = True
    error = await refused(cache)
    assert error.message == f"{server.url} answers 503 for *q4_k_m.gguf of {REPO} (main)"
    assert (error.reason, error.retry) == ("HubFailed", Retry.BACKOFF)


async def test_a_hub_that_cannot_be_reached_is_tried_again(
    server: HubServer, cache: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HF_ENDPOINT", "http://127.0.0.1:9")
    error = await refused(cache)
    assert error.message == (
        f"cannot download *q4_k_m.gguf of {REPO} (main) from http://127.0.0.1:9: connection refused"
    )
    assert (error.reason, error.retry) == ("HubUnreachable", Retry.BACKOFF)


async def test_offline_asks_nobody(
    server: HubServer, cache: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    error = await refused(cache)
    assert error.message == (
        f"*q4_k_m.gguf of {REPO} (main) is not in the local cache, and HF_HUB_OFFLINE is set; "
        "unset it, or bring the file into the cache"
    )
    assert (error.reason, error.retry) == ("HubOffline", Retry.STALLED)
    assert server.requests == []


async def test_without_the_extra_a_person_is_told_how_to_get_it(
    server: HubServer, cache: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "huggingface_hub", None)
    assert importlib.util.find_spec("huggingface_hub") is None
    error = await refused(cache)
    assert error.message == (
        f"{REPO} is not in the local cache, and huggingface_hub is not installed; "
        f"run: pip install 'paddock[hf]', or download it: hf download {REPO}"
    )
    assert (error.reason, error.retry) == ("DownloaderMissing", Retry.STALLED)
    assert server.requests == []


@pytest.fixture
def blocked(cache: Path) -> Path:
    """A file, where the folder shall be."""
    cache.parent.mkdir(parents=True)
    cache.write_text("a file")
    return cache


async def test_a_cache_that_cannot_be_written_is_told(server: HubServer, blocked: Path) -> None:
    error = await refused(blocked)
    assert error.message.startswith(f"cannot write {blocked}/models--Org--Model-GGUF")
    assert (error.reason, error.retry) == ("DownloadFailed", Retry.BACKOFF)


async def test_what_came_is_readable_for_all_whatever_our_umask(
    server: HubServer, cache: Path
) -> None:
    before = os.umask(0o077)
    try:
        (file,), _ = await fetch(cache)
        assert stat.S_IMODE(file.real_path.stat().st_mode) == 0o600
        opened = set(opened_up(cache))
    finally:
        os.umask(before)
    assert {file.path, file.real_path, cache} <= opened
    assert stat.S_IMODE(file.real_path.stat().st_mode) == 0o644
    folders = [path for path in opened if path.is_dir()]
    assert {stat.S_IMODE(path.stat().st_mode) for path in folders} == {0o755}


async def test_a_file_that_is_discarded_is_downloaded_anew(server: HubServer, cache: Path) -> None:
    server.lie = True
    (file,), _ = await fetch(cache)
    assert digest_of(file.path.read_bytes()) != file.claim
    discard(file)
    server.lie = False
    (file,), _ = await fetch(cache)
    assert digest_of(file.path.read_bytes()) == file.claim
