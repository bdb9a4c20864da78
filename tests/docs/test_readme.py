"""The README tells of every command, option, setting, exit code and step of the demo."""

from __future__ import annotations

import argparse
import re
from pathlib import Path

import pytest

from paddock import errors
from paddock.cli import converge, main, plan, status
from paddock.settings import Settings

ROOT = Path(__file__).resolve().parents[2]
README = (ROOT / "README.md").read_text()


def parsers() -> dict[str, argparse.ArgumentParser]:
    """The parser of every command."""
    actions = main.make_parser()._actions
    commands = next(a for a in actions if isinstance(a, argparse._SubParsersAction))
    return dict(commands.choices)


@pytest.mark.parametrize("command", sorted(parsers()))
def test_every_command_is_in_the_readme(command: str) -> None:
    assert f"`paddock {command}" in README


@pytest.mark.parametrize("name", sorted(Settings.model_fields))
def test_every_setting_is_in_the_readme(name: str) -> None:
    assert f"`PADDOCK_{name.upper()}`" in README


def test_every_common_option_is_in_the_readme() -> None:
    for _, option, _ in main._COMMON:
        assert option in README, option


def test_every_exit_code_is_in_the_readme() -> None:
    kinds = [kind for kind in vars(errors).values() if isinstance(kind, type)]
    codes = {kind.exit_code for kind in kinds if hasattr(kind, "exit_code")}
    codes |= {main.EXIT_FAILED, main.EXIT_INTERRUPTED, plan.EXIT_CHANGES}
    codes |= {converge.EXIT_PARTIAL, status.EXIT_NOT_READY}
    for code in codes:
        assert f"\n| {code} | " in README, code


def test_the_recorded_demo_has_every_part_that_the_script_has() -> None:
    script = (ROOT / "scripts" / "demo.py").read_text()
    titles = re.findall(r'with part\("[\w-]+", "([^"]+)"\)', script)
    assert titles
    for title in titles:
        assert f"\n== {title}\n" in README, title
    assert re.search(r"\nDemo passed in [\d.]+ s: ", README)


def test_every_link_to_a_file_leads_somewhere() -> None:
    for target in re.findall(r"\]\(([^)#]+)\)", README):
        assert target.startswith("https://") or (ROOT / target).exists(), target
