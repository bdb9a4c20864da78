"""What the commands print: exit codes, and documents that match their published schemas."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import time
from typing import Any

import jsonschema
import pytest
import yaml

from paddock_cli import COMMAND, SMOL, User, run
from provider import ROOT
from real import RealOllama

FIELDS = {"name", "source", "digest", "size_bytes", "copied_bytes", "loaded", "conditions"}


def _check(document: Any, kind: str) -> None:
    schema = json.loads((ROOT / "schemas" / f"{kind}.v1.schema.json").read_text())
    validator = jsonschema.Draft202012Validator(
        schema, format_checker=jsonschema.Draft202012Validator.FORMAT_CHECKER
    )
    validator.validate(document)


@pytest.fixture(scope="module")
def server(module_ollama: RealOllama) -> RealOllama:
    """A server with two models that others made."""
    module_ollama.create_from_gguf("theirs")
    return module_ollama


@pytest.fixture
def mixed(server: RealOllama, tmp_path: Any) -> User:
    """A user whose file has something of each kind: new, derived, blocked, absent."""
    user = User(tmp_path / "user", server)
    user.declare(
        f"{SMOL}    preload: true\n    keep_alive: 10m\n  terse:\n    source: {{model: smol}}\n"
        "    system: Be terse.\n  lost:\n    source: {gguf: ./missing.gguf}\n"
        "  gone: {state: absent}\n  theirs: {state: absent}\n"
    )
    return user


def test_a_plan_in_json_and_yaml_matches_its_schema_before_and_after(mixed: User) -> None:
    before = mixed.paddock("plan", "-o", "json")
    assert before.code == 0
    _check(before.json, "plan")
    assert before.json["summary"] == {"add": 2, "change": 0, "remove": 0, "blocked": 2}
    assert {a["action"] for a in before.json["actions"]} == {"HashSource"}
    assert [waiting["name"] for waiting in before.json["waiting"]] == ["terse"]
    assert {b["name"]: b["reason"] for b in before.json["blocked"]} == {
        "lost": "SourceMissing",
        "theirs": "NotOwned",
    }
    as_yaml = yaml.safe_load(mixed.paddock("plan", "-o", "yaml").out)
    _check(as_yaml, "plan")
    assert as_yaml == before.json
    mixed.apply(code=3)
    after = mixed.paddock("plan", "-o", "json").json
    _check(after, "plan")
    assert after["actions"] == []
    assert after["generation"] == before.json["generation"]


def test_a_status_in_json_and_yaml_matches_its_schema(mixed: User) -> None:
    before = mixed.paddock("status", "-o", "json")
    assert before.code == 3
    _check(before.json, "status")
    mixed.apply(code=3)
    result = mixed.paddock("status", "-o", "json")
    assert result.code == 3
    _check(result.json, "status")
    models = {model["name"]: model for model in result.json["models"]}
    assert set(models) == {"smol", "terse", "lost", "gone", "theirs"}
    assert models["smol"].keys() >= FIELDS
    assert models["smol"]["loaded"]
    assert models["smol"]["expires_at"]
    assert models["smol"]["size_bytes"] > mixed.gguf.stat().st_size
    _check(yaml.safe_load(mixed.paddock("status", "-o", "yaml").out), "status")


def test_the_document_of_an_apply_holds_a_status_that_matches_its_schema(mixed: User) -> None:
    result = mixed.apply("-o", "json", code=3)
    assert set(result.json) == {"format_version", "outcomes", "status"}
    _check(result.json["status"], "status")


def test_the_daemons_documents_match_their_schemas(user: User) -> None:
    user.declare(SMOL)
    with user.daemon() as daemon:
        _check(daemon.status(), "status")
        daemon.wait_ready()
        _check(daemon.status(), "status")
        code, plan = daemon.get("/paddock/plan")
        assert code == 200
        _check(plan, "plan")
        _check(user.paddock("status", "-o", "json").json, "status")


def test_detailed_exitcode_is_2_only_while_changes_are_pending(user: User) -> None:
    user.declare(SMOL)
    assert user.paddock("plan").code == 0
    assert user.paddock("plan", "--detailed-exitcode").code == 2
    user.apply()
    assert user.paddock("plan", "--detailed-exitcode").code == 0
    assert user.paddock("status").code == 0
    user.declare("  smol: {state: absent}\n")
    assert user.paddock("plan", "--detailed-exitcode").code == 2


def test_the_status_of_one_model_exits_by_that_model_alone(mixed: User) -> None:
    mixed.apply(code=3)
    assert mixed.paddock("status", "smol").code == 0
    assert mixed.paddock("status", "lost").code == 3
    result = mixed.paddock("status", "nobody")
    assert result.code == 1
    assert "nobody is not declared in " in result.err


@pytest.mark.parametrize(
    "arguments",
    [
        [],
        ["unknown"],
        ["plan", "--unknown"],
        ["plan", "-o", "xml"],
        ["apply", "--timeout", "soon"],
        ["adopt"],
        ["plan", "--ollama-host", "ftp://host"],
        ["plan", "--config", "/nowhere/config.yaml"],
    ],
)
def test_wrong_usage_ends_with_64_and_one_line(mixed: User, arguments: list[str]) -> None:
    result = mixed.paddock(*arguments)
    assert (result.code, result.out) == (64, "")
    assert len(result.err.splitlines()) == 1
    assert result.err.startswith("paddock: ")


def test_options_may_stand_before_or_after_the_command(mixed: User) -> None:
    environment = {k: v for k, v in mixed.environment.items() if k != "PADDOCK_FILE"}
    before = run(["-f", mixed.file, "-o", "json", "plan"], environment)
    after = run(["plan", "-o", "json", "-f", mixed.file], environment)
    assert before == after
    assert before.json["file"] == str(mixed.file)


def test_a_timeout_ends_an_apply_with_1_and_the_next_goes_on(user: User) -> None:
    user.declare(SMOL)
    user.gguf.touch()  # a file that has just been written is left to settle first
    result = user.apply("--timeout", "1", code=1)
    assert "not done within 1 s" in result.err
    user.apply()
    assert list(user.server.tags()) == ["smol:latest"]


def _start(user: User, *arguments: str) -> subprocess.Popen[str]:
    """Starts a command on a file that has just been written, which is left to settle first."""
    user.gguf.touch()
    return subprocess.Popen(
        [*COMMAND, *arguments],
        env=user.environment,
        cwd=user.folder,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )


def _wait_for_lock(user: User) -> None:
    lock = user.server.models_dir / ".paddock" / "lock"
    deadline = time.monotonic() + 20
    while not (lock.exists() and lock.read_bytes()):
        assert time.monotonic() < deadline
        time.sleep(0.01)


def test_an_interrupted_apply_ends_with_130_and_the_next_goes_on(user: User) -> None:
    user.declare(SMOL)
    os.utime(user.gguf)  # a file that has just changed is hashed two seconds later
    process = _start(user, "apply")
    _wait_for_lock(user)
    time.sleep(0.3)
    process.send_signal(signal.SIGINT)
    _out, err = process.communicate(timeout=20)
    assert process.returncode == 130, err
    assert "Traceback" not in err
    user.apply()


def test_two_applies_at_once_are_not_possible(user: User) -> None:
    user.declare(SMOL)
    first = _start(user, "apply")
    _wait_for_lock(user)
    second = user.paddock("apply")
    assert second.code == 12, second
    assert f"is held by paddock apply with pid {first.pid} since " in second.err
    assert len(second.err.splitlines()) == 1
    assert first.wait(20) == 0, first.communicate()
    first.communicate()
    user.apply()


def test_a_reader_that_goes_away_leaves_no_traceback(user: User) -> None:
    user.declare(SMOL)
    process = _start(user, "schema")
    assert process.stdout is not None
    process.stdout.close()
    assert process.stderr is not None
    assert process.stderr.read() == ""
    process.stderr.close()
    assert process.wait(20) == 1
