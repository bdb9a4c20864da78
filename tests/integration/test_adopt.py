"""`paddock adopt` claims what is there, and writes down in models.yaml what that does not name."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path

import pytest

from paddock_cli import User
from real import StartOllama
from snapshots import store_snapshot
from tiny_models import base_model, chat_model

FILE = """\
version: 1   # the format

models:
  named:   # by hand
    source: {gguf: ./smol.gguf}

# the end
"""
OLD = {"parameters", "template", "system"}


@pytest.fixture
def user(start_ollama: StartOllama, tmp_path: Path) -> User:
    """A user with a file, beside a server with models that somebody made."""
    user = User(tmp_path / "user", start_ollama())
    user.gguf.write_bytes(chat_model())
    other = user.folder / "other.gguf"
    other.write_bytes(base_model(5))
    user.server.create_from_gguf("named", user.gguf)
    user.server.create_from_gguf("extra", other, ["SYSTEM Extra: yes.", "PARAMETER top_k 3"])
    user.file.write_text(FILE)
    return user


def adopted(user: User) -> list[str]:
    """The names that Paddock may now remove: those that a file without them prunes."""
    return [m["name"] for m in user.paddock("status", "-o", "json").json["models"]]


def test_a_model_that_the_file_lacks_is_written_into_it(user: User) -> None:
    before = {name: user.server.show(name) for name in ("named", "extra")}
    result = user.paddock("adopt", "--all")
    assert result == (0, f"extra: adopted, added to {user.file}\nnamed: adopted\n", "")
    text = user.file.read_text()
    head, tail = FILE.split("# the end\n")
    assert text.startswith(head)
    assert text.endswith("\n# the end\n" + tail)
    assert "\n  extra:\n    source: {gguf: " in text
    assert '    system: "Extra: yes."\n' in text
    user.apply()
    assert user.paddock("plan").out.startswith("No changes. 2 models match")
    for name, shown in before.items():
        now = user.server.show(name)
        assert {key: now.get(key) for key in OLD} == {key: shown.get(key) for key in OLD}


def test_what_was_adopted_is_changed_as_the_file_says(user: User) -> None:
    user.paddock("adopt", "extra")
    user.file.write_text(user.file.read_text().replace("Extra: yes.", "Extra: no."))
    user.apply()
    assert user.server.show("extra")["system"] == "Extra: no."


def test_again_it_changes_nothing(user: User) -> None:
    user.paddock("adopt", "--all")
    before = user.file.stat().st_ino, user.file.read_bytes()
    assert user.paddock("adopt", "extra", "named").out == "extra: adopted\nnamed: adopted\n"
    assert (user.file.stat().st_ino, user.file.read_bytes()) == before


def test_a_dry_run_shows_the_change_and_makes_none(user: User) -> None:
    before = store_snapshot(user.server.models_dir)
    result = user.paddock("adopt", "extra", "--dry-run")
    assert result.code == 0
    assert result.out.startswith(f"extra: would be adopted, added to {user.file}\n--- ")
    assert "\n+  extra:\n" in result.out
    assert user.file.read_text() == FILE
    document = user.paddock("adopt", "extra", "--dry-run", "-o", "json").json
    assert (document["dry_run"], document["adopted"]) == (True, ["extra"])
    assert document["diff"] in result.out
    assert store_snapshot(user.server.models_dir) == before
    assert not (user.server.models_dir / ".paddock").exists()


def _read_only(user: User) -> None:
    user.file.chmod(0o444)


def _in_braces(user: User) -> None:
    user.file.write_text("version: 1\nmodels: {named: {source: {gguf: ./smol.gguf}}}\n")


@pytest.mark.parametrize("prepare", [_read_only, _in_braces])
def test_a_file_that_cannot_be_added_to_gets_the_lines_printed_and_nothing_claimed(
    user: User, prepare: Callable[[User], None]
) -> None:
    prepare(user)
    text = user.file.read_text()
    result = user.paddock("adopt", "--all")
    assert result.code == 1
    assert result.out.startswith("  extra:\n    source: {gguf: ")
    assert "nothing was claimed" in result.err
    assert user.file.read_text() == text
    assert not (user.server.models_dir / ".paddock").exists()
    document = user.paddock("adopt", "--all", "-o", "json").json
    assert document["text"] == result.out
    assert document["error"]["reason"] == "FileNotWritable"
    user.file.chmod(0o644)
    user.file.write_text(f"{FILE}\n".replace("\n# the end", f"\n{result.out}\n# the end"))
    assert user.paddock("adopt", "--all").code == 0, "what was printed can be pasted"


def test_a_folder_gets_a_file_of_its_own(user: User) -> None:
    folder = user.folder / "models.d"
    folder.mkdir()
    (folder / "10-mine.yaml").write_text(FILE.replace("./", "../"))
    result = user.paddock("adopt", "extra", "-f", str(folder))
    assert result.out == f"extra: adopted, added to {folder / 'adopted.yaml'}\n"
    assert user.paddock("validate", str(folder)).code == 0
    assert sorted(os.listdir(folder)) == ["10-mine.yaml", "adopted.yaml"]  # noqa: PTH208


def test_an_invalid_file_is_told_of_and_nothing_is_claimed(user: User) -> None:
    user.file.write_text("version: 1\nmodel: {}\n")
    assert user.paddock("adopt", "extra").code == 10
    assert not (user.server.models_dir / ".paddock").exists()


def test_names_and_all_are_one_or_the_other(user: User) -> None:
    assert user.paddock("adopt").code == 64
    assert user.paddock("adopt", "extra", "--all").code == 64


def test_a_running_daemon_takes_over_what_is_adopted(user: User) -> None:
    with user.daemon() as daemon:
        assert user.paddock("adopt", "extra").code == 0
        daemon.wait(lambda: "extra" in adopted(user), "the daemon keeps it")
        elsewhere = user.folder / "elsewhere.yaml"
        elsewhere.write_text("version: 1\nmodels: {}\n")
        refused = user.paddock("adopt", "extra", "-f", str(elsewhere))
        assert refused.code == 12
        assert str(user.file) in refused.err
    assert elsewhere.read_text() == "version: 1\nmodels: {}\n"
