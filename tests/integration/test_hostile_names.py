"""Hostile names, wherever they come in: one line that says what is wrong, and no harm."""

from __future__ import annotations

import json

import pytest

from paddock_cli import HEAD, SMOL, User
from real import RealOllama
from snapshots import store_snapshot

# What is wrong with each, as its line says.
NAMES = {
    "../../etc/passwd": 'the host begins with "."',
    "a/../b": 'the namespace begins with "."',
    "/etc/passwd": "the host is empty",
    ".hidden": 'the model begins with "."',
    "-rf": 'the model begins with "-"',
    "a/-b": 'the model begins with "-"',
    "a:.b": 'the tag begins with "."',
    "a:-b": 'the tag begins with "-"',
    "a b": 'the model holds " "',
    "a\\b": "the model holds",
    "a\nb": "the model holds",
    "sm\u043el": 'the model holds "\\u043e"',
    "smol\u200b": 'the model holds "\\u200b"',
    "\uff53mol": "the model begins with",
    "m" * 81: "has 81 characters; use at most 80",
    "a:" + "t" * 81: "has 81 characters; use at most 80",
    "a" * 351 + "/b/c": "has 351 characters; use at most 350",
    "a:cloud": 'keeps the tag "cloud" to itself',
    "a:120b-cloud": 'keeps the tag "120b-cloud" to itself',
    "a:LOCAL": 'keeps the tag "LOCAL" to itself',
    "a@sha256:" + "0" * 64: "a name cannot hold a digest",
    "a/b/c/d": 'the host holds "/"',
    "a:": "the tag is empty",
    ":a": "the model is empty",
}
SOURCE = {"source": {"gguf": "./smol.gguf"}}


@pytest.fixture(scope="module")
def owner(module_ollama: RealOllama, tmp_path_factory: pytest.TempPathFactory) -> User:
    """A user whose model is linked."""
    user = User(tmp_path_factory.mktemp("user"), module_ollama)
    user.declare(SMOL)
    user.apply()
    module_ollama.tags()
    return user


def test_each_hostile_name_in_the_file_has_its_own_line(owner: User) -> None:
    models = "".join(f"  {json.dumps(name)}: {json.dumps(SOURCE)}\n" for name in NAMES)
    owner.declare(models)
    before = store_snapshot(owner.server.models_dir)
    with owner.server.recorded() as requests:
        result = owner.paddock("apply")
    assert (result.code, result.out, requests) == (10, "", [])
    lines = result.err.splitlines()
    assert len(lines) == len(NAMES)
    for (name, what), line in zip(NAMES.items(), lines, strict=True):
        assert what in line, name
        assert line.isprintable()
    assert store_snapshot(owner.server.models_dir) == before


@pytest.mark.parametrize("key", ["model", "registry"])
def test_a_hostile_name_as_a_source_is_refused_too(owner: User, key: str) -> None:
    names = [name for name in NAMES if key == "model" or "cloud" not in name]
    owner.file.write_text(
        HEAD + "".join(f"  m{n}: {json.dumps({'source': {key: x}})}\n" for n, x in enumerate(names))
    )
    result = owner.paddock("validate")
    assert (result.code, result.out) == (10, "")
    assert len(result.err.splitlines()) == len(names)


@pytest.mark.parametrize("name", [n for n in NAMES if not n.startswith("-")])
def test_a_hostile_name_to_adopt_is_one_line(owner: User, name: str) -> None:
    owner.declare(SMOL)
    before = store_snapshot(owner.server.models_dir)
    result = owner.paddock("adopt", name)
    assert (result.code, result.out) == (1, "")
    [line] = result.err.splitlines()
    assert NAMES[name] in line or ("is not installed" in line and "keeps the tag" in NAMES[name])
    assert line.isprintable()
    assert store_snapshot(owner.server.models_dir) == before


@pytest.mark.parametrize(
    "name", ["../../etc/passwd", "a\nb", "a:cloud", "m" * 81, "sm\u043el", "a@sha256:0", "a\x1b[m"]
)
@pytest.mark.parametrize("command", ["status", "chat"])
def test_a_hostile_name_to_ask_for_is_one_line(owner: User, command: str, name: str) -> None:
    owner.declare(SMOL)
    prompt = ["Hi"] if command == "chat" else []
    result = owner.paddock(command, name, *prompt)
    assert (result.code, result.out) == (1, ""), result
    note, line = result.err.splitlines()
    assert "no daemon answers" in note
    assert line.startswith("paddock: ")
    assert line.isprintable()


def test_a_name_in_another_case_is_the_same_model(owner: User) -> None:
    """Ollama finds names whatever their case: so does adopt, and so does the file."""
    owner.declare(SMOL.replace("smol:", "SMOL:", 1))
    assert owner.apply().out.startswith("No changes.")
    assert owner.paddock("adopt", "Smol") == (0, "smol: adopted\n", "")
    assert owner.paddock("status", "SMOL").code == 0


@pytest.mark.parametrize("name", ["127.0.0.1:5055/me/m", "https://host.example/me/m:t"])
def test_a_host_with_a_port_and_a_scheme_are_names(user: User, name: str) -> None:
    user.declare(f"  {json.dumps(name)}: {json.dumps(SOURCE)}\n")
    user.apply()
    plain = name.removeprefix("https://")
    assert list(user.server.tags()) == [plain if plain.endswith(":t") else f"{plain}:latest"]
    folder = user.server.models_dir / "manifests" / plain.partition("/")[0]
    assert folder.is_dir()
    user.declare(f"  {json.dumps(name)}: {{state: absent}}\n")
    user.apply()
    assert not folder.exists()
