"""`paddock doctor`: each thing that stands in the way, with what to do about it."""

from __future__ import annotations

from typing import Any

from paddock_cli import User

SMOL = "  smol:\n    source: {gguf: ./smol.gguf}\n"


def findings(user: User, *, code: int) -> dict[str, dict[str, Any]]:
    result = user.paddock("doctor", "-o", "json")
    assert result.code == code, result
    return {found["check"]: found for found in result.json["findings"]}


def test_a_host_that_is_well_is_told_so(tiny_user: User) -> None:
    tiny_user.declare(SMOL)
    with tiny_user.daemon() as daemon:
        daemon.wait_ready()
        found = findings(tiny_user, code=0)
        assert {check: told["verdict"] for check, told in found.items()} == {
            "file": "ok",
            "ollama": "ok",
            "store": "ok",
            "daemon": "ok",
        }
        text = tiny_user.paddock("doctor")
        assert text.out.endswith("\n0 problems.\n")


def test_every_problem_is_told_at_once_and_nothing_is_changed(tiny_user: User) -> None:
    tiny_user.declare(SMOL + "    keep_alive: soon\n")
    tiny_user.server.stop()
    before = sorted(tiny_user.server.models_dir.rglob("*"))
    found = findings(tiny_user, code=1)
    assert found["file"]["message"].startswith(f"{tiny_user.file}:")
    assert found["ollama"]["verdict"] == "failed"
    assert "paddock run --managed" in found["ollama"]["hint"]
    assert found["daemon"]["verdict"] == "warning"
    assert sorted(tiny_user.server.models_dir.rglob("*")) == before


def test_a_file_that_is_away_and_a_folder_of_another_server_are_problems(tiny_user: User) -> None:
    tiny_user.declare(SMOL)
    tiny_user.gguf.rename(tiny_user.folder / "away.gguf")
    assert "SourceMissing" in findings(tiny_user, code=1)["models"]["message"]
    tiny_user.server.create_from_gguf("other", tiny_user.folder / "away.gguf")
    other = tiny_user.folder / "models"
    other.mkdir()
    result = tiny_user.paddock("doctor", "--models-dir", str(other))
    assert result.code == 1
    assert f"failed   store: {other} is not the models folder of the Ollama at " in result.out
