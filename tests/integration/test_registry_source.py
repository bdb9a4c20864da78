"""Models from a registry: pulled once, pinned by digest, overridden, removed."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from paddock_cli import User
from provider import RealPaths
from real import RealOllama
from registry import LoopbackRegistry, Programs
from snapshots import store_snapshot

WRONG = "sha256:" + "0" * 64


@pytest.fixture(scope="module")
def shop(
    real: RealPaths, registry_programs: Programs, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[LoopbackRegistry]:
    """A registry with `smol:v1`, made by another server."""
    folder = tmp_path_factory.mktemp("shop")
    with (
        LoopbackRegistry(registry_programs, folder / "registry") as registry,
        RealOllama(real, folder / "ollama") as author,
    ):
        author.create_from_gguf("smol", modelfile_lines=["SYSTEM One.", "PARAMETER num_ctx 512"])
        registry.push(author, "smol", "smol:v1")
        author.create_from_gguf("smol", modelfile_lines=["SYSTEM Two.", "PARAMETER num_ctx 512"])
        registry.push(author, "smol", "smol:v2")
        author.stop()
        yield registry


def _source(shop: LoopbackRegistry, tag: str = "v1", digest: str | None = None) -> str:
    pin = "" if digest is None else f', digest: "{digest}"'
    return f'    source: {{registry: "{shop.reference("smol")}:{tag}", insecure: true{pin}}}\n'


def _name(shop: LoopbackRegistry, tag: str = "v1") -> str:
    return f"{shop.reference('smol')}:{tag}"


def _pulls(user: User) -> int:
    return sum(request.path == "/api/pull" for request in user.server.requests_log())


def test_a_model_is_pulled_under_its_own_reference_and_then_left_alone(
    user: User, shop: LoopbackRegistry
) -> None:
    user.declare(f'  "{_name(shop)}":\n{_source(shop)}')
    assert "copies: known after apply" in user.paddock("plan").out
    assert _pulls(user) == 0
    user.apply()
    tag = user.server.tags()[_name(shop)]
    assert f"sha256:{tag['digest']}" == shop.digest("smol", "v1")
    assert user.server.show(_name(shop))["system"] == "One."
    before, asked = store_snapshot(user.server.models_dir), len(shop.requests_log())
    assert user.apply().out.startswith("No changes.")
    assert store_snapshot(user.server.models_dir) == before
    assert len(shop.requests_log()) == asked
    assert _pulls(user) == 1


def test_a_right_pin_is_pulled(user: User, shop: LoopbackRegistry) -> None:
    user.declare(f'  "{_name(shop)}":\n{_source(shop, digest=shop.digest("smol", "v1"))}')
    user.apply()
    assert user.statuses()[_name(shop)] == ("True", "AsDeclared")


def test_a_wrong_pin_is_never_pulled_and_what_was_there_stays(
    user: User, shop: LoopbackRegistry
) -> None:
    """`/api/pull` overwrites without asking, so the registry is asked first."""
    user.declare(f'  "{_name(shop)}":\n{_source(shop)}')
    user.apply()
    before, pulls = user.server.tags(), _pulls(user)
    user.declare(f'  "{_name(shop)}":\n{_source(shop, digest=WRONG)}')
    result = user.apply(code=3)
    assert "(DigestMismatch)" in result.out
    stalled = user.apply("-o", "json", code=3).json["status"]["models"][0]["conditions"]
    found = next(c for c in stalled if c["type"] == "Stalled")
    assert (found["status"], found["reason"]) == ("True", "DigestMismatch")
    assert user.server.tags() == before
    assert _pulls(user) == pulls
    assert user.server.show(_name(shop))["system"] == "One."


def test_a_wrong_pin_on_an_empty_store_pulls_nothing(user: User, shop: LoopbackRegistry) -> None:
    user.declare(f'  "{_name(shop)}":\n{_source(shop, digest=WRONG)}')
    user.apply(code=3)
    assert _pulls(user) == 0
    assert user.server.tags() == {}


def test_overrides_under_the_same_name_keep_the_registrys_digest(
    user: User, shop: LoopbackRegistry
) -> None:
    pin = shop.digest("smol", "v1")
    user.declare(f'  "{_name(shop)}":\n{_source(shop, digest=pin)}    system: Mine.\n')
    user.apply()
    shown = user.server.show(_name(shop))
    assert shown["system"] == "Mine."
    assert "num_ctx" in shown["parameters"]
    assert user.apply().out.startswith("No changes.")
    assert _pulls(user) == 1
    user.declare(f'  "{_name(shop)}":\n{_source(shop, digest=pin)}    system: Changed.\n')
    user.apply()
    assert user.server.show(_name(shop))["system"] == "Changed."
    assert user.apply().out.startswith("No changes.")
    assert user.server.generate(_name(shop), "Hi")["response"]


def test_another_name_gets_a_manifest_of_its_own(user: User, shop: LoopbackRegistry) -> None:
    user.declare(f"  mine:\n{_source(shop)}    system: Mine.\n  plain:\n{_source(shop)}")
    user.apply()
    assert user.server.show("mine")["system"] == "Mine."
    assert user.server.show("plain")["system"] == "One."
    assert _pulls(user) <= 2
    assert user.apply().out.startswith("No changes.")


def test_a_new_tag_moves_the_model(user: User, shop: LoopbackRegistry) -> None:
    user.declare(f"  mine:\n{_source(shop)}")
    user.apply()
    assert user.server.show("mine")["system"] == "One."
    user.declare(f"  mine:\n{_source(shop, 'v2')}")
    user.apply()
    assert user.server.show("mine")["system"] == "Two."


def test_absent_removes_a_pulled_model_with_its_blobs(user: User, shop: LoopbackRegistry) -> None:
    user.declare(f'  "{_name(shop)}":\n{_source(shop)}')
    user.apply()
    user.declare(f'  "{_name(shop)}": {{state: absent}}\n')
    user.apply()
    assert user.server.tags() == {}
    assert _blobs(user) == []


def _blobs(user: User) -> list[Path]:
    return list((user.server.models_dir / "blobs").iterdir())


def test_a_reference_that_does_not_exist_fails_its_model_alone(
    user: User, shop: LoopbackRegistry
) -> None:
    user.declare(
        f'  "{_name(shop, "nowhere")}":\n{_source(shop, "nowhere")}'
        f'  "{_name(shop)}":\n{_source(shop)}'
    )
    result = user.apply(code=3)
    assert "nowhere" in result.out
    assert list(user.server.tags()) == [_name(shop)]


def test_somebody_elses_pull_is_not_overwritten(user: User, shop: LoopbackRegistry) -> None:
    """Present and unclaimed: as declared it is ready, another digest is not ours to pull."""
    body = {"model": _name(shop), "insecure": True, "stream": False}
    assert user.server.api("POST", "/api/pull", body, timeout_s=60).status == 200
    user.declare(f'  "{_name(shop)}":\n{_source(shop)}')
    user.apply()
    assert _pulls(user) == 1
    user.declare(f'  "{_name(shop)}":\n{_source(shop, digest=shop.digest("smol", "v2"))}')
    result = user.apply(code=3)
    assert "paddock adopt" in result.out
    assert _pulls(user) == 1
