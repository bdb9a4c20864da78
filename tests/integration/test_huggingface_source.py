"""`source: {huggingface: ...}`: a GGUF of the hub is linked from a local cache, else downloaded.

The caches are made by the real huggingface_hub, from a stand-in for the hub on loopback; the models
are tiny ones that a real Ollama answers from.
"""

from __future__ import annotations

import os
import shutil
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import huggingface_hub
import pytest

import tiny_models as tiny
from hub_server import COMMIT, HubContent, HubServer, Repo
from paddock_cli import User
from snapshots import store_snapshot
from tiny_files import BLUE, RED, picture

REPO = "Org/Tiny-GGUF"
MODEL = "tiny-q8_0.gguf"
SOURCE = f'{{huggingface: {REPO}, file: "*q8_0.gguf"}}'
TINY = f"  tiny:\n    source: {SOURCE}\n"
TOKEN = "hf_secret"


@pytest.fixture
def hub() -> Iterator[HubServer]:
    files = {
        MODEL: HubContent(tiny.quantised_model()),
        "tiny-f16.gguf": HubContent(tiny.chat_model()),
        "mmproj-f16.gguf": HubContent(tiny.projector()),
    }
    with HubServer({REPO: Repo(files)}) as server:
        yield server
        huggingface_hub.close_session()


@pytest.fixture
def far(user: User, hub: HubServer) -> User:
    """A user whose hub is that one, and whose cache is empty."""
    names = [name for name in os.environ if name.startswith(("HF_", "HUGGINGFACE_", "LLAMA_"))]
    user.env |= dict.fromkeys(names, "")
    user.env |= {"HF_ENDPOINT": hub.url, "HF_HOME": str(_home(user)), "HF_HUB_OFFLINE": "0"}
    return user


@pytest.fixture
def away(far: User) -> User:
    """The same user without a network."""
    far.env |= {"HF_ENDPOINT": "http://127.0.0.1:9", "HF_HUB_OFFLINE": "1"}
    return far


def _home(user: User) -> Path:
    return user.folder / "hf-home"


def _cached(user: User, hub: HubServer, name: str = MODEL, **options: Any) -> Path:
    """Lets the real client put a file into the user's own cache."""
    path = huggingface_hub.hf_hub_download(
        REPO, name, cache_dir=_home(user) / "hub", endpoint=hub.url, token=False, **options
    )
    return Path(path)


def _links(user: User) -> set[str]:
    blobs = (user.server.models_dir / "blobs").iterdir()
    return {str(path.readlink()) for path in blobs if path.is_symlink()}


def _own(user: User) -> Path:
    return user.server.models_dir / ".paddock" / "hf"


def _status(user: User, name: str = "tiny") -> dict[str, Any]:
    document = user.paddock("status", "-o", "json").json
    found: dict[str, Any] = next(m for m in document["models"] if m["name"] == name)
    return found


def _state(folder: Path) -> dict[str, object]:
    return {str(p): (p.lstat().st_mtime_ns, p.lstat().st_ctime_ns) for p in folder.rglob("*")}


def test_a_gguf_in_a_hub_cache_is_linked_offline_and_not_copied(away: User, hub: HubServer) -> None:
    path = _cached(away, hub)
    before = _state(_home(away))
    away.declare(TINY)
    away.apply()
    assert _links(away) == {str(path.resolve())}
    assert path.resolve().parent.name == "blobs"
    assert not _own(away).exists()
    assert away.apply().out.startswith("No changes. 1 model matches ")
    assert away.server.generate("tiny", "do re mi")["response"]
    assert _state(_home(away)) == before
    status = _status(away)
    assert status["source"] == f"huggingface: {REPO} *q8_0.gguf"
    assert status["copied_bytes"] < 10_000
    assert status["size_bytes"] > 100_000


def test_a_name_in_a_cache_may_be_trusted(away: User, hub: HubServer) -> None:
    path = _cached(away, hub)
    away.declare(TINY.replace("}", ", trust: name}"))
    result = away.apply()
    assert "hash" not in result.err
    digest = hub.repos[REPO].files[MODEL].sha256
    assert (away.server.models_dir / "blobs" / f"sha256-{digest}").readlink() == path.resolve()
    assert away.server.generate("tiny", "do re mi")["response"]


def test_a_pinned_commit_stays_when_the_branch_moves(away: User, hub: HubServer) -> None:
    old = _cached(away, hub, revision=COMMIT)
    new = HubContent(tiny.quantised_model(seed=2))
    hub.repos[REPO] = Repo({MODEL: new}, commit="6" * 40)
    moved = _cached(away, hub)
    away.declare(TINY.replace("}", f', revision: "{COMMIT}"}}'))
    away.apply()
    assert _links(away) == {str(old.resolve())}
    away.declare(TINY)
    away.apply()
    assert _links(away) == {str(moved.resolve())}


def test_what_no_cache_has_is_downloaded_by_the_daemon_and_served(
    far: User, hub: HubServer
) -> None:
    far.declare(TINY)
    with far.daemon() as daemon:
        daemon.wait_ready()
        assert far.server.generate("tiny", "do re mi")["response"]
        (model,) = daemon.status()["models"]
        assert model["copied_bytes"] >= len(hub.repos[REPO].files[MODEL].data)
    (target,) = _links(far)
    digest = hub.repos[REPO].files[MODEL].sha256
    assert target == str(_own(far) / "models--Org--Tiny-GGUF" / "blobs" / digest)
    assert len(hub.downloads()) == 1
    assert not _home(far).exists()
    asked = len(hub.requests)
    before = store_snapshot(far.server.models_dir)
    assert far.apply().out.startswith("No changes. 1 model matches ")
    assert len(hub.requests) == asked
    assert store_snapshot(far.server.models_dir) == before


def test_a_file_that_was_pruned_from_its_cache_is_downloaded_and_served_again(
    far: User, hub: HubServer
) -> None:
    path = _cached(far, hub)
    far.declare(TINY)
    with far.daemon() as daemon:
        daemon.wait_ready()
        assert _links(far) == {str(path.resolve())}
        shutil.rmtree(_home(far))
        own = str(_own(far))
        daemon.wait(lambda: any(link.startswith(own) for link in _links(far)), "it is fetched")
        daemon.wait_ready()
        assert far.server.generate("tiny", "do re mi")["response"]


def test_a_plan_says_what_it_would_download_and_downloads_nothing(
    far: User, hub: HubServer
) -> None:
    far.declare(TINY)
    result = far.paddock("plan", "-o", "json")
    (action,) = result.json["actions"]
    assert action == {
        "action": "DownloadFile",
        "symbol": "+",
        "name": "tiny",
        "reason": "NotDownloaded",
        "message": f"download *q8_0.gguf of {REPO}",
        "linked_bytes": 0,
        "copied_bytes": None,
    }
    assert hub.requests == []
    assert not _own(far).exists()


def test_two_names_over_one_file_download_it_once(far: User, hub: HubServer) -> None:
    far.declare(TINY + TINY.replace("tiny:", "other:", 1))
    far.apply()
    assert len(hub.downloads()) == 1
    assert len(_links(far)) == 1
    assert far.apply().out.startswith("No changes. 2 models match ")


def test_a_projector_of_the_same_repository_comes_with_the_model(far: User, hub: HubServer) -> None:
    far.declare(TINY.replace("}", ', projector: "mmproj*"}'))
    far.apply()
    assert len(_links(far)) == 2
    assert "vision" in far.server.show("tiny")["capabilities"]
    said = [
        far.server.chat(
            "tiny",
            "do",
            messages=[{"role": "user", "content": "do", "images": [picture(colour)]}],
            options={"num_predict": 12},
        )["message"]["content"]
        for colour in (RED, BLUE)
    ]
    assert said[0] != said[1]


def test_only_what_is_missing_is_downloaded(far: User, hub: HubServer) -> None:
    path = _cached(far, hub)
    hub.requests.clear()
    far.declare(TINY.replace("}", ', projector: "mmproj*"}'))
    far.apply()
    assert [asked.path.rpartition("/")[2] for asked in hub.downloads()] == [
        hub.repos[REPO].files["mmproj-f16.gguf"].sha256
    ]
    assert str(path.resolve()) in _links(far)


def test_a_split_model_is_downloaded_whole(far: User, hub: HubServer) -> None:
    parts = tiny.split_model()
    hub.repos[REPO] = Repo({name: HubContent(content) for name, content in parts.items()})
    far.declare(f'  tiny:\n    source: {{huggingface: {REPO}, file: "*"}}\n')
    far.apply()
    assert len(hub.downloads()) == len(parts)
    assert far.server.generate("tiny", "do re mi")["response"]


def test_offline_a_missing_file_is_told_and_taken_once_it_is_there(
    away: User, hub: HubServer
) -> None:
    away.declare(TINY)
    result = away.apply(code=3)
    assert f"*q8_0.gguf of {REPO} (main) is not in the local cache, and HF_HUB_OFFLINE is" in (
        result.out + result.err
    )
    assert _status(away)["conditions"][0]["status"] == "False"
    path = _cached(away, hub)
    away.apply()
    assert _links(away) == {str(path.resolve())}


@pytest.mark.parametrize("how", ["setting", "credential"])
def test_a_private_repository_needs_the_token(how: str, far: User, hub: HubServer) -> None:
    hub.repos[REPO].token = TOKEN
    far.declare(TINY)
    result = far.apply(code=3)
    assert "set PADDOCK_HF_TOKEN or HF_TOKEN to a token that may read it" in (
        result.out + result.err
    )
    if how == "setting":
        far.env |= {"PADDOCK_HF_TOKEN": TOKEN}
    else:
        (far.folder / "hf-token").write_text(f"{TOKEN}\n")
        far.env |= {"CREDENTIALS_DIRECTORY": str(far.folder)}
    result = far.apply()
    assert TOKEN not in result.out + result.err
    assert far.server.generate("tiny", "do re mi")["response"]


def test_what_came_as_something_else_is_not_used_and_downloaded_again(
    far: User, hub: HubServer
) -> None:
    hub.lie = True
    far.declare(TINY)
    result = far.apply(code=3)
    assert f"{MODEL} of {REPO} came as sha256:" in result.out + result.err
    assert not list(_own(far).rglob("*.gguf"))
    assert far.server.tags() == {}
    hub.lie = False
    far.apply()
    assert far.server.generate("tiny", "do re mi")["response"]


def test_a_daemon_that_is_stopped_stops_its_download(far: User, hub: HubServer) -> None:
    hub.hold = threading.Event()
    big = HubContent(tiny.quantised_model() + bytes(30_000_000))
    hub.repos[REPO] = Repo({MODEL: big})
    far.declare(TINY)
    with far.daemon():
        assert hub.holding.wait(60)
    assert not list(_own(far).rglob("*.incomplete"))
    assert not list(_own(far).rglob("*.gguf"))


def test_a_model_of_somebody_else_is_not_downloaded_for(far: User, hub: HubServer) -> None:
    far.server.create_from_gguf("tiny", far.gguf)
    far.declare(TINY)
    result = far.apply(code=3)
    assert "NotOwned" in result.out
    assert hub.requests == []
