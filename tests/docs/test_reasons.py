"""Every reason that a plan can give is explained in docs/drift.md, and no other one."""

from __future__ import annotations

import ast
import re
from pathlib import Path

import pytest

from paddock.core.drift import DRIFT

ROOT = Path(__file__).parents[2]
CORE = ROOT / "daemon" / "paddock" / "core"
# All that decides what an action, a blocked model or a note of a tree is for.
DECIDING = (
    "compose",
    "compose_files",
    "files",
    "ownership",
    "planner",
    "prune",
    "publish",
    "questions",
    "residency",
    "shared",
    "trees",
    "withdraw",
)
_REASON = re.compile(r"(?:[A-Z][a-z0-9]+)+[A-Za-z]*")
_ROW = re.compile(r"^\| (`[A-Z][^|]*) \|", re.MULTILINE)


def _reasons(path: Path) -> set[str]:
    """The words in CamelCase that a module has as text."""
    nodes = ast.walk(ast.parse(path.read_text()))
    texts = {node.value for node in nodes if isinstance(node, ast.Constant)}
    return {text for text in texts if isinstance(text, str) and _REASON.fullmatch(text)}


def _told() -> set[str]:
    """The reasons that have a row."""
    text = (ROOT / "docs" / "drift.md").read_text()
    return {reason for row in _ROW.findall(text) for reason in re.findall(r"`(\w+)`", row)}


@pytest.mark.parametrize("module", DECIDING)
def test_every_reason_is_explained(module: str) -> None:
    text = (ROOT / "docs" / "drift.md").read_text()
    told = set(re.findall(r"`([A-Z]\w+)`", text))
    found = _reasons(CORE / f"{module}.py")
    assert found, "the module gives reasons"
    assert found <= told


def test_every_explained_reason_is_given() -> None:
    given = set().union(*(_reasons(path) for path in CORE.glob("*.py")))
    assert _told() <= given


def test_every_cause_that_is_counted_is_explained_as_drift() -> None:
    text = (ROOT / "docs" / "drift.md").read_text()
    drift = text.split("\n## ")[1]
    assert set(re.findall(r"^\| `(\w+)`", drift, re.MULTILINE)) >= DRIFT
