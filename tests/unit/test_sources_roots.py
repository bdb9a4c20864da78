"""The setting ROOTS: a list like ADMINS, of absolute folders."""

from __future__ import annotations

from pathlib import Path

import pytest

from paddock.errors import SettingsError
from paddock.settings import load_settings


@pytest.fixture(autouse=True)
def home(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HOME", "/home/me")


@pytest.mark.parametrize(
    ("text", "roots"),
    [
        ("/srv/models", ("/srv/models",)),
        (" /srv/models , ~/models,", ("/srv/models", "/home/me/models")),
        ("~", ("/home/me",)),
        ("", ()),
    ],
)
def test_it_is_a_list_with_commas_in_the_environment(
    monkeypatch: pytest.MonkeyPatch, text: str, roots: tuple[str, ...]
) -> None:
    monkeypatch.setenv("PADDOCK_ROOTS", text)
    assert load_settings({}).roots == roots


@pytest.mark.parametrize("text", ["[/a, ~/b]", "'/a, ~/b'"])
def test_it_is_a_list_or_text_in_the_config_file(tmp_path: Path, text: str) -> None:
    config = tmp_path / "config.yaml"
    config.write_text(f"roots: {text}\n")
    assert load_settings({}, config).roots == ("/a", "/home/me/b")


def test_without_it_a_source_may_lie_anywhere() -> None:
    assert load_settings({}).roots == ()


@pytest.mark.parametrize("text", ["models", "/a,./b", "..", "~nobody-at-all/x"])
def test_a_root_that_is_no_absolute_path_is_refused(
    monkeypatch: pytest.MonkeyPatch, text: str
) -> None:
    monkeypatch.setenv("PADDOCK_ROOTS", text)
    with pytest.raises(SettingsError, match=r"^setting roots: ") as raised:
        load_settings({})
    assert "\n" not in raised.value.message
