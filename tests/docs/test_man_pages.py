"""The manual pages are those of this parser and this README, and are set without a complaint."""

from __future__ import annotations

import os
import subprocess
from collections.abc import Callable
from pathlib import Path

import pytest

import paddock
from giving_up import give_up
from man_pages import blocks, inline, pages
from paddock.cli.main import make_parser

ROOT = Path(__file__).resolve().parents[2]
NAMES = ("models.yaml.5", "paddock.1")


@pytest.fixture(scope="module")
def man() -> Callable[[str], str]:
    """A page as `man` shows it, in one line."""
    need = [ROOT / "scripts" / "apt-need", "man-db", "groff-base"]
    needed = subprocess.run(need, capture_output=True, text=True, check=False)
    if needed.returncode != 0:
        give_up(f"no man: {needed.stderr.strip()}")

    def rendered(name: str) -> str:
        done = subprocess.run(
            ["man", "--warnings", "-l", ROOT / "man" / name],
            env=os.environ | {"LC_ALL": "C.UTF-8", "MANWIDTH": "200", "MANPAGER": "cat"},
            capture_output=True,
            text=True,
            check=True,
        )
        assert done.stderr == ""
        return " ".join(done.stdout.split())

    return rendered


@pytest.mark.parametrize("name", NAMES)
def test_the_committed_page_is_current(name: str) -> None:
    """If not: python scripts/man_pages.py."""
    assert (ROOT / "man" / name).read_text(encoding="utf-8") == pages()[name]


def test_there_is_no_other_page() -> None:
    assert sorted(path.name for path in (ROOT / "man").iterdir()) == sorted(pages()) == [*NAMES]


def test_the_page_of_the_commands_tells_of_each_and_of_this_version(
    man: Callable[[str], str],
) -> None:
    text = man("paddock.1")
    assert f"Paddock {paddock.__version__}" in text
    for part in ("install-service [--user]", "-f, --file PATH", "PADDOCK_DRAIN", "64 wrong usage"):
        assert part in text, part
    for option in make_parser()._option_string_actions:
        assert option in text, option


def test_the_page_of_the_file_shows_it_as_the_readme_does(man: Callable[[str], str]) -> None:
    text = man("models.yaml.5")
    assert "source: {gguf: ./SmolLM2-135M-Instruct.Q4_1.gguf} # relative to this file; ~ is" in text


@pytest.mark.parametrize(
    ("markdown", "expected"),
    [
        ("`-v` and **all**", r"\fB\-v\fP and \fBall\fP"),
        ("[More](docs/a.md), [it](docs/b.md)", r"docs/a.md, it (docs/b.md)"),
        (".TH is no 'heading'", r"\&.TH is no \(aqheading\(aq"),
        (r"a \| b \ c", r"a | b \e c"),
    ],
)
def test_a_text_is_written_so_that_roff_shows_it_as_it_is(markdown: str, expected: str) -> None:
    assert inline(markdown) == expected


def test_a_block_of_code_keeps_its_lines() -> None:
    found = blocks("Text.\n\n    a:\n      b: 1\n\n- One\n  item.\n- Two.")
    code = ".PP\n.RS 2\n.EX\na:\n  b: 1\n.EE\n.RE\n"
    assert found == f".PP\nText.\n{code}.IP \\(bu 2\nOne item.\n.IP \\(bu 2\nTwo.\n"
