"""`source: {modelfile: ...}` gives what `ollama create` makes of the same file, without a copy."""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import Any

import pytest

from paddock_cli import SMOL, User
from real import StartOllama
from tiny_files import write_all

FIELDS = ("template", "system", "messages", "license", "details", "capabilities")

# Each row: a Modelfile, as bytes where its bytes matter. All stand beside smol.gguf.
SAME: dict[str, str | bytes] = {
    "FROM alone": "FROM ./smol.gguf\n",
    "every text": (
        "# Modelfile of a pirate\n"
        "from smol.gguf\n"
        "PARAMETER temperature 0.123456789\n"
        "PARAMETER num_ctx 512\n"
        "PARAMETER use_mmap T\n"
        "PARAMETER top_p .5e0\n"
        "System You are a pirate.\n"
        'TEMPLATE """{{ range .Messages }}[{{ .Role }}]\n{{ .Content }}\n{{ end }}"""\n'
        "LICENSE MIT\n"
        'LICENSE """\nAnother one,\nof two lines.\n"""\n'
    ),
    "stops and messages": (
        "FROM ./smol.gguf\n"
        'PARAMETER stop "</s>"\nPARAMETER stop [user]\nPARAMETER stop "a b"\n'
        "MESSAGE system Be brief.\n"
        'MESSAGE user """Is Toronto in Canada?\nReally: sure?"""\n'
        "MESSAGE assistant yes: it is\n"
    ),
    "the last of several counts": (
        "FROM ./smol.gguf\nSYSTEM one\nSYSTEM two\nPARAMETER seed 1\nPARAMETER seed 2\n"
        'TEMPLATE x\nTEMPLATE ""\n'
    ),
    "what Ollama ignores": (
        "FROM ./smol.gguf\nPARAMETER mirostat 1\nPARAMETER penalize_newline maybe\n"
    ),
    "Windows lines and a mark": (
        b'\xef\xbb\xbfFROM ./smol.gguf\r\n\r\n# c\r\nSYSTEM """one\r\ntwo"""\r\n'
        b"PARAMETER top_k 7\r\n"
    ),
    "UTF-16": 'FROM ./smol.gguf\nSYSTEM "Grüße, 日本"\n'.encode("utf-16"),
    "what cannot be printed": "FROM ./smol.gguf\nSYSTEM a\u00a0b\u200dc\td \u0007 e\n",
    "quotes that go on": 'FROM ./smol.gguf\nSYSTEM "He said "no" and\nleft" \nLICENSE \'x\'\n',
}


def _shown(user: User, name: str) -> dict[str, Any]:
    shown = user.server.show(name)
    details = {k: v for k, v in shown["details"].items() if k != "parent_model"}
    parameters = {line.strip() for line in (shown.get("parameters") or "").splitlines()}
    fields = {key: shown.get(key) for key in FIELDS}
    return fields | {"details": details, "parameters": parameters}


def _modelfile(user: User, content: str | bytes, name: str = "Modelfile") -> Path:
    path = user.folder / name
    path.parent.mkdir(exist_ok=True)
    path.write_bytes(content if isinstance(content, bytes) else content.encode())
    return path


@pytest.mark.parametrize("case", SAME)
def test_a_declared_modelfile_gives_what_create_makes_of_it(case: str, user: User) -> None:
    modelfile = _modelfile(user, SAME[case])
    before = user.gguf.stat()
    user.declare("  declared:\n    source: {modelfile: ./Modelfile}\n")
    user.apply()
    assert user.apply().out.startswith("No changes. 1 model matches ")
    after = user.gguf.stat()
    assert (after.st_mtime_ns, after.st_ino, after.st_size) == (
        before.st_mtime_ns,
        before.st_ino,
        before.st_size,
    )
    user.server.cli("create", "created", "-f", modelfile)
    assert _shown(user, "declared") == _shown(user, "created")


def test_a_modelfile_over_a_declared_model_shares_its_blobs(user: User) -> None:
    _modelfile(user, "FROM smol\nSYSTEM Derived.\nPARAMETER top_k 7\n", "sub/Modelfile")
    user.declare(
        f"{SMOL}    parameters: {{num_ctx: 512, top_k: 3}}\n"
        "  derived:\n    source: {modelfile: sub/Modelfile}\n"
    )
    user.apply()
    user.server.cli("create", "created", "-f", user.folder / "sub/Modelfile")
    assert _shown(user, "derived") == _shown(user, "created")
    assert {line.split()[0]: line.split()[1] for line in _shown(user, "derived")["parameters"]}[
        "top_k"
    ] == "7"


def test_a_modelfile_over_an_installed_model_uses_it_as_create_does(user: User) -> None:
    user.server.create_from_gguf("base", user.gguf, ["SYSTEM Base.", "PARAMETER top_k 3"])
    base = user.server.tags()["base:latest"]
    modelfile = _modelfile(user, "FROM base\nPARAMETER num_ctx 512\nLICENSE MIT\n")
    user.declare("  declared:\n    source: {modelfile: ./Modelfile}\n")
    user.apply()
    user.server.cli("create", "created", "-f", modelfile)
    assert _shown(user, "declared") == _shown(user, "created")
    assert _shown(user, "declared")["system"] == "Base."
    assert user.server.tags()["base:latest"] == base


def test_the_modelfile_that_ollama_shows_makes_the_same_model(user: User) -> None:
    user.server.create_from_gguf("base", user.gguf, ["SYSTEM Base.", "PARAMETER top_k 3"])
    _modelfile(user, user.server.show("base")["modelfile"])
    user.declare("  again:\n    source: {modelfile: ./Modelfile}\n")
    user.apply()
    assert _shown(user, "again") == _shown(user, "base")
    assert user.server.generate("again", "Hi")["response"]


def test_keys_of_models_yaml_win_and_parameters_merge(user: User) -> None:
    lines = "SYSTEM File.\nPARAMETER top_k 3\nPARAMETER num_ctx 512\nLICENSE MIT\n"
    _modelfile(user, f"FROM ./smol.gguf\n{lines}MESSAGE user hi\n")
    user.declare(
        "  mixed:\n    source: {modelfile: ./Modelfile}\n    system: Ours.\n"
        "    parameters: {top_k: 5, seed: 1}\n    license: Apache-2.0\n    messages: null\n"
    )
    user.apply()
    lines = "SYSTEM Ours.\nPARAMETER top_k 5\nPARAMETER num_ctx 512\nPARAMETER seed 1\n"
    wanted = _modelfile(user, f"FROM ./smol.gguf\n{lines}LICENSE Apache-2.0\n", "Wanted")
    user.server.cli("create", "wanted", "-f", wanted)
    assert _shown(user, "mixed") == _shown(user, "wanted")


def test_a_running_daemon_follows_the_modelfile_and_outlives_a_bad_one(user: User) -> None:
    _modelfile(user, "FROM ../smol.gguf\nSYSTEM One.\n", "sub/Modelfile")
    user.declare("  told:\n    source: {modelfile: sub/Modelfile}\n")
    with user.daemon() as daemon:
        daemon.wait_ready()
        assert user.server.show("told")["system"] == "One."
        _modelfile(user, "FROM ../smol.gguf\nSYSTEM Two.\n", "sub/Modelfile")
        daemon.wait(lambda: user.server.show("told")["system"] == "Two.", "it follows an edit")
        _modelfile(user, "FROM ../smol.gguf\nSYSTEMS Three.\n", "sub/Modelfile")
        daemon.wait(lambda: daemon.condition("Stalled")[0] == "True", "it says what is wrong")
        assert user.server.show("told")["system"] == "Two."
        _modelfile(user, "FROM ../smol.gguf\nSYSTEM Three.\n", "sub/Modelfile")
        daemon.wait(lambda: user.server.show("told")["system"] == "Three.", "it follows again")
        daemon.wait_ready()


def test_a_missing_gguf_blocks_its_model_alone_and_is_never_pulled(user: User) -> None:
    """A name like gone.gguf could be pulled, but a disk that is away asks for no download."""
    _modelfile(user, "FROM gone.gguf\n")
    user.declare(f"{SMOL}  lost:\n    source: {{modelfile: ./Modelfile}}\n")
    result = user.apply(code=3)
    assert "SourceMissing" in result.out
    shutil.copy(user.gguf, user.folder / "gone.gguf")
    user.apply()
    assert user.server.generate("lost", "Hi")["response"]


@pytest.mark.parametrize(
    ("line", "theirs", "ours"),
    [
        ("SYSTEMS a", "command must be one of", 'Modelfile:2: "SYSTEMS" is not a command'),
        ('SYSTEM "a', "unexpected EOF", 'Modelfile:2: " is not closed'),
        ("MESSAGE User a", "message role must be one of", 'Modelfile:2: "User" is not a role'),
        ("PARAMETER  seed 1", "unknown parameter ''", "Modelfile:2: PARAMETER is not followed by"),
        ("PARAMETER Seed 1", "unknown parameter 'Seed'", "Modelfile:2: PARAMETER Seed: unknown"),
        ("PARAMETER seed 1.0", "invalid int value", 'Modelfile:2: PARAMETER seed: "1.0" is not'),
        ("PARAMETER top_p x", "invalid float value", 'Modelfile:2: PARAMETER top_p: "x" is not'),
        ("PARAMETER typical_p 1", "no longer supported", "Modelfile:2: PARAMETER typical_p: "),
    ],
)
def test_what_create_refuses_is_refused_with_its_line(
    line: str, theirs: str, ours: str, user: User
) -> None:
    modelfile = _modelfile(user, f"FROM ./smol.gguf\n{line}\n")
    with pytest.raises(AssertionError, match=theirs):
        user.server.cli("create", "created", "-f", modelfile)
    user.declare("  declared:\n    source: {modelfile: ./Modelfile}\n")
    result = user.apply(code=10)
    assert ours in result.err
    assert f"{user.file}:4:25: models.declared.source.modelfile: " in result.err
    assert user.server.tags() == {}


def test_a_modelfile_with_a_projector_and_one_with_a_draft_are_as_create_makes_them(
    start_ollama: StartOllama, tmp_path: Path
) -> None:
    user = User(write_all(tmp_path / "user"), start_ollama())
    (user.folder / "projector.gguf").rename(user.folder / "mmproj.gguf")
    texts = {
        "sees": "FROM ./mmproj.gguf\nFROM ./chat.gguf\nSYSTEM Be brief.\n",
        "drafts": "FROM ./base.gguf\nDRAFT ./draft.gguf\n",
    }
    for name, text in texts.items():
        modelfile = user.folder / name
        modelfile.write_text(text)
        user.server.cli("create", f"{name}-created", "-f", modelfile)
    user.declare("".join(f"  {name}: {{source: {{modelfile: ./{name}}}}}\n" for name in texts))
    user.apply()
    for name in texts:
        ours, theirs = (user.server.show(f"{name}{end}") for end in ("", "-created"))
        for shown in (ours, theirs):
            del shown["modified_at"], shown["modelfile"]
            shown["details"].pop("parent_model", None)
        assert ours == theirs


def test_a_modelfile_with_an_adapter_is_what_create_no_longer_makes(
    start_ollama: StartOllama, tmp_path: Path
) -> None:
    user = User(write_all(tmp_path / "user"), start_ollama())
    modelfile = user.folder / "Modelfile"
    modelfile.write_text("FROM ./quantised.gguf\nADAPTER ./adapter.gguf\n")
    with pytest.raises(AssertionError, match="no longer supported"):
        user.server.cli("create", "created", "-f", modelfile)
    user.declare(
        "  plain: {source: {gguf: quantised.gguf}}\n  tuned: {source: {modelfile: Modelfile}}\n"
    )
    user.apply()
    plain, tuned = (user.server.generate(name, "a b c")["response"] for name in ("plain", "tuned"))
    assert plain != tuned
