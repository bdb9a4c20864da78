"""models.yaml is read anew whenever it is another than what was read."""

from __future__ import annotations

from pathlib import Path

import pytest

from paddock.core.desired import Desired
from paddock.edges.specfile import load_spec
from paddock.engine import desire
from paddock.engine.desire import Desire

ABSENT = "version: 1\nmodels:\n  {name}: {{state: absent}}\n"


def _names(desired: Desired) -> list[str]:
    return [name.display for name in desired.models]


def test_a_file_that_changes_while_it_is_read_is_read_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Two swaps in a row: the second comes when the first was just read."""
    file = tmp_path / "models.yaml"
    file.write_text(ABSENT.format(name="one"))

    def load(*given: object) -> object:
        loaded = load_spec(*given)  # type: ignore[arg-type]
        file.write_text(ABSENT.format(name="two"))
        return loaded

    monkeypatch.setattr(desire, "load_spec", load)
    read = Desire(file, {})
    assert _names(read()) == ["one"]
    assert _names(read()) == ["two"]
    assert read() is read()


def test_a_file_that_names_others_is_read_anew_when_they_change(tmp_path: Path) -> None:
    template = tmp_path / "t.txt"
    template.write_text("{{ .Prompt }}")
    file = tmp_path / "models.yaml"
    file.write_text("version: 1\nmodels:\n  a: {source: {registry: r}, template_file: t.txt}\n")
    read = Desire(file, {})
    before = read()
    assert read() is before
    template.write_text("{{ .System }}")
    assert read() is not before
