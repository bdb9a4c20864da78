"""Models are appended to models.yaml; every byte that was there stays."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from paddock.edges.specfile import load_spec
from paddock.edges.specfile.edit import EditRefused, append_models
from paddock.errors import SpecError
from spec_texts import HEAD, write

NEW = {"new:1": {"source": {"registry": "new:1"}}, "no": {"source": {"gguf": "/m/no.gguf"}}}


def added(folder: Path, text: str) -> str:
    """The file after an edit, which has kept all that was there."""
    path = write(folder, text)
    append_models(path, NEW, {}).write()
    after = path.read_bytes().decode()
    assert {"new:1", "no"} <= set(load_spec(path, {}).spec.models)
    return after


def names(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir())


BLOCK = """\
  new:1:
    source: {registry: "new:1"}

  "no":
    source: {gguf: /m/no.gguf}
"""
COMPACT = BLOCK.replace("\n\n", "\n")


@pytest.mark.parametrize(
    ("before", "after"),
    [
        ("", ""),
        ("# the end\n", "\n# the end\n"),
        ("\n# the end\n", "\n# the end\n"),
        ("defaults: {keep_alive: 5m}\n", "\ndefaults: {keep_alive: 5m}\n"),
        ("...\n", "\n...\n"),
    ],
)
def test_models_are_added_below_the_last_one(tmp_path: Path, before: str, after: str) -> None:
    head = "version: 1  # of the format\nmodels:\n  a: {source: {registry: a}}  # mine\n"
    assert added(tmp_path, head + before) == f"{head}\n{BLOCK}{after}"


def test_a_file_without_empty_lines_between_models_gets_none(tmp_path: Path) -> None:
    text = "version: 1\n\nmodels:\n  a:\n    source: {registry: a}\n  b:\n    state: absent\n"
    assert added(tmp_path, text) == text + COMPACT


def test_a_last_line_without_an_end_gets_one(tmp_path: Path) -> None:
    text = "version: 1\nmodels:\n  a:\n    source: {registry: a}"
    assert added(tmp_path, text) == f"{text}\n\n{BLOCK}"


@pytest.mark.parametrize("indent", [1, 3, 8])
def test_entries_are_as_deep_as_the_others(tmp_path: Path, indent: int) -> None:
    text = f"version: 1\nmodels:\n{' ' * indent}a: {{source: {{registry: a}}}}\n"
    after = added(tmp_path, text)
    assert after.startswith(f"{text}\n{' ' * indent}new:1:\n{' ' * (indent + 2)}source:")


def test_lines_end_as_they_did(tmp_path: Path) -> None:
    text = "version: 1\r\nmodels:\r\n  a:\r\n    source: {registry: a}\r\n# end\r\n"
    after = added(tmp_path, text)
    assert after.count("\n") == after.count("\r\n")
    assert after.startswith(text.removesuffix("# end\r\n"))
    assert after.endswith("\r\n\r\n# end\r\n")


def test_a_byte_order_mark_stays_at_the_start(tmp_path: Path) -> None:
    text = "\ufeffversion: 1\nmodels:\n  a: {source: {registry: a}}\n"
    assert added(tmp_path, text) == f"{text}\n{BLOCK}"


def test_comments_as_deep_as_the_last_model_stay_with_it(tmp_path: Path) -> None:
    text = (
        "version: 1\nmodels:\n  a:\n    source: {registry: a}\n    # keep_alive: 5m\n\n"
        "  # b: shall come later\n"
    )
    assert added(tmp_path, f"{text}\n# the rest\n") == f"{text}\n{BLOCK}\n# the rest\n"


@pytest.mark.parametrize("chomp", ["", "-", "+"])
@pytest.mark.parametrize("tail", ["", "\n", "\n\n# end\n", "  # deep\ndefaults: {}\n"])
def test_a_text_at_the_end_keeps_its_value(tmp_path: Path, chomp: str, tail: str) -> None:
    text = f"{HEAD}  a:\n    source: {{registry: a}}\n    system: |{chomp}\n      x\n{tail}"
    before = load_spec(write(tmp_path, text), {}).spec.models["a"].system
    after = added(tmp_path, text)
    assert load_spec(tmp_path / "models.yaml", {}).spec.models["a"].system == before
    lines = [line for line in after.split("\n") if line and f"{line}\n" not in BLOCK]
    assert lines == [line for line in text.split("\n") if line]


@pytest.mark.parametrize("braces", ["{}", "{ }", "{}  # none yet"])
def test_empty_braces_give_way_to_lines(tmp_path: Path, braces: str) -> None:
    comment = braces.partition("}")[2]
    text = f"version: 1\nmodels: {braces}\n# end\n"
    assert added(tmp_path, text) == f"version: 1\nmodels:{comment}\n{BLOCK}\n# end\n"


@pytest.mark.parametrize(
    "text",
    [
        "version: 1\nmodels: {a: {source: {registry: a}}}\n",
        "{version: 1, models: {}}\n",
        "version: 1\nmodels: {\n}\n",
        "version: 1\nmodels: &m {}\n",
        "version: 1\nmodels:\n  ? a\n  : {source: {registry: a}}\n",
        "version: 1\nmodels:\n  a:\n    source: {registry: a}\n    system: |\n      x",
    ],
)
def test_what_lines_cannot_be_added_to_is_refused_with_the_lines(tmp_path: Path, text: str) -> None:
    path = write(tmp_path, text)
    with pytest.raises(EditRefused, match="by hand") as caught:
        append_models(path, NEW, {})
    assert caught.value.text == BLOCK
    assert path.read_text() == text


def test_a_model_that_is_there_already_is_refused(tmp_path: Path) -> None:
    path = write(tmp_path, "version: 1\nmodels:\n  new:1:\n    source: {registry: x}\n")
    with pytest.raises(EditRefused, match="given twice"):
        append_models(path, NEW, {})


def test_an_invalid_file_is_told_of_as_ever(tmp_path: Path) -> None:
    with pytest.raises(SpecError, match="unknown key"):
        append_models(write(tmp_path, "version: 1\nmodel: {}\n"), NEW, {})


def test_a_folder_gets_a_file_of_its_own_and_that_grows(tmp_path: Path) -> None:
    write(tmp_path, "version: 1\nmodels:\n  a: {source: {registry: a}}\n", "10-mine.yaml")
    append_models(tmp_path, {"new:1": NEW["new:1"]}, {}).write()
    first = (tmp_path / "adopted.yaml").read_text()
    append_models(tmp_path, {"no": NEW["no"]}, {}).write()
    assert (tmp_path / "adopted.yaml").read_text().startswith(first)
    assert set(load_spec(tmp_path, {}).spec.models) == {"a", "new:1", "no"}
    assert names(tmp_path) == ["10-mine.yaml", "adopted.yaml"]


def test_a_link_is_written_through_to_its_file_which_keeps_its_mode(tmp_path: Path) -> None:
    (tmp_path / "git").mkdir()
    (tmp_path / "etc").mkdir()
    real = write(tmp_path / "git", "version: 1\nmodels: {}\n", "host.yaml")
    real.chmod(0o640)
    link = tmp_path / "etc" / "models.yaml"
    link.symlink_to("../git/host.yaml")
    append_models(link, NEW, {}).write()
    assert str(link.readlink()) == "../git/host.yaml"
    assert real.stat().st_mode & 0o7777 == 0o640
    assert set(load_spec(link, {}).spec.models) == set(NEW)
    assert names(tmp_path / "git") == ["host.yaml"]


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can give a file away")
def test_a_file_stays_its_owners(tmp_path: Path) -> None:
    path = write(tmp_path, "version: 1\nmodels: {}\n")
    os.chown(path, 1234, 2345)
    append_models(path, NEW, {}).write()
    assert (path.stat().st_uid, path.stat().st_gid) == (1234, 2345)


def test_a_file_that_nobody_may_write_is_left_alone(tmp_path: Path) -> None:
    path = write(tmp_path, "version: 1\nmodels: {}\n")
    path.chmod(0o444)
    with pytest.raises(EditRefused, match="read-only") as caught:
        append_models(path, NEW, {})
    assert caught.value.text == BLOCK
    assert path.read_text() == "version: 1\nmodels: {}\n"


def test_a_file_that_changes_meanwhile_is_not_overwritten(tmp_path: Path) -> None:
    path = write(tmp_path, "version: 1\nmodels: {}\n")
    edit = append_models(path, NEW, {})
    path.write_text("version: 1\nmodels: {}  # mine\n")
    with pytest.raises(EditRefused, match="somebody else"):
        edit.write()
    assert path.read_text() == "version: 1\nmodels: {}  # mine\n"


def test_a_write_that_fails_leaves_the_file_and_nothing_beside_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = write(tmp_path, "version: 1\nmodels: {}\n")
    edit = append_models(path, NEW, {})

    def full(_: int) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("paddock.edges.specfile.edit.os.fsync", full)
    with pytest.raises(EditRefused, match="no space left"):
        edit.write()
    assert names(tmp_path) == ["models.yaml"]
    assert path.read_text() == "version: 1\nmodels: {}\n"
