"""Views: what goes where, and numbers as people read them. The words are in tests/golden."""

from __future__ import annotations

import json
from typing import Any

import pytest
import yaml

from paddock.cli import views


def plan(**changes: Any) -> dict[str, Any]:
    summary = {"add": 0, "change": 0, "remove": 0, "blocked": 0}
    return {
        "file": "models.yaml",
        "actions": [],
        "waiting": [],
        "blocked": [],
        "notes": [],
        "summary": summary | changes.pop("summary", {}),
        **changes,
    }


def action(name: str = "a", kind: str = "LinkBlob", **changes: Any) -> dict[str, Any]:
    said = {"action": kind, "symbol": "+", "name": name, "reason": "SourceNew", "message": "do it"}
    return said | {"linked_bytes": 0, "copied_bytes": 0} | changes


@pytest.mark.parametrize(
    ("size_bytes", "text"),
    [
        (0, "0 B"),
        (999, "999 B"),
        (1000, "1.0 kB"),
        (999_949, "999.9 kB"),
        (999_999, "1.0 MB"),
        (98_400_000, "98.4 MB"),
        (2_019_000_000, "2.0 GB"),
        (4 * 10**15, "4000.0 TB"),
    ],
)
def test_a_size_is_told_in_powers_of_a_thousand(size_bytes: int, text: str) -> None:
    assert views.human(size_bytes) == text


def test_one_line_a_model_whatever_is_said_of_it() -> None:
    document = plan(
        actions=[action("a", symbol="~"), action("b")],
        waiting=[{"symbol": "+", "name": "b", "reason": "Wait", "message": "wait"}],
        blocked=[{"name": "a", "reason": "Stop", "message": "stop"}],
        summary={"blocked": 1, "add": 1},
    )
    lines = views.plan_text(document, 2, verbose=True).splitlines()
    assert lines == [
        "!  a  stop  Stop",
        "    LinkBlob: do it (SourceNew)",
        "+  b  wait  Wait",
        "    LinkBlob: do it (SourceNew)",
        "Plan: 1 to add, 0 to change, 0 to remove, 1 blocked.",
    ]


def test_small_blobs_do_not_hide_what_is_done() -> None:
    blob = action(kind="WriteBlob", reason="BlobMissing", message="write config")
    both = plan(actions=[blob, action()], summary={"add": 1})
    assert views.plan_text(both, 1, verbose=False).startswith("+  a  do it  SourceNew\n")
    alone = plan(actions=[blob, blob], summary={"add": 1})
    assert views.plan_text(alone, 1, verbose=False).startswith("+  a  write config  BlobMissing\n")


@pytest.mark.parametrize(
    ("linked", "copied", "text"),
    [
        (0, 0, ""),
        (10**9, 0, "links 1.0 GB, copies 0 B"),
        (0, 10**6, "links 0 B, copies 1.0 MB"),
        (10**9, None, "links 1.0 GB, copies: known after apply"),
    ],
)
def test_bytes_are_told_where_there_are_any(linked: int, copied: int | None, text: str) -> None:
    document = plan(actions=[action(linked_bytes=linked, copied_bytes=copied)], summary={"add": 1})
    line = views.plan_text(document, 1, verbose=False).splitlines()[0]
    assert line.removeprefix("+  a  do it  SourceNew").strip() == text


@pytest.mark.parametrize(
    ("models", "text"),
    [
        (0, "No changes. 0 models match models.yaml."),
        (1, "No changes. 1 model matches models.yaml."),
        (2, "No changes. 2 models match models.yaml."),
    ],
)
def test_a_plan_without_changes_says_how_many_models_match(models: int, text: str) -> None:
    assert views.plan_text(plan(), models, verbose=False) == text


@pytest.mark.parametrize(
    ("result", "text"),
    [
        ("done", "a: link it (1.2 s)"),
        ("failed", "a: failed: link it (Broken)"),
        ("skipped", "a: skipped LinkBlob (Broken)"),
    ],
)
def test_an_outcome_is_one_line(result: str, text: str) -> None:
    outcome = {
        "action": "LinkBlob",
        "name": "a",
        "result": result,
        "reason": "Broken",
        "message": "link it",
        "elapsed_s": 1.234,
    }
    assert views.outcome_line(outcome) == text


def test_results_go_to_stdout_and_notes_to_stderr(capsys: pytest.CaptureFixture[str]) -> None:
    views.show({"a": "é"}, "text", "text")
    views.note("a note")
    assert tuple(capsys.readouterr()) == ("text\n", "a note\n")


@pytest.mark.parametrize(("output", "parse"), [("json", json.loads), ("yaml", yaml.safe_load)])
def test_a_document_says_the_same_in_json_and_yaml(
    output: str, parse: Any, capsys: pytest.CaptureFixture[str]
) -> None:
    document = {"b": [1, None, "é"], "a": {"x": True}}
    views.show(document, "text", output)
    out = capsys.readouterr().out
    assert parse(out) == document
    assert "é" in out
    assert out.index("b") < out.index("a")


def test_a_failure_is_told_line_by_line_or_as_a_document(
    capsys: pytest.CaptureFixture[str],
) -> None:
    views.fail("SpecInvalid", "one\ntwo", 10, "text")
    assert tuple(capsys.readouterr()) == ("", "paddock: one\npaddock: two\n")
    views.fail("SpecInvalid", "one\ntwo", 10, "json")
    assert json.loads(capsys.readouterr().out) == {
        "format_version": 1,
        "error": {"reason": "SpecInvalid", "message": "one\ntwo", "exit_code": 10},
    }


def test_a_table_is_aligned_and_has_no_spaces_at_the_end() -> None:
    assert views.table([("a", "bb", ""), ("ccc", "d", "e")]) == ["a    bb", "ccc  d   e"]
    assert views.table([]) == []


def test_a_plan_tells_what_stays_as_it_is_in_a_publish_tree() -> None:
    note = {"path": "/t/a.gguf", "reason": "PathTaken", "message": "/t/a.gguf is not ours"}
    lines = views.plan_text(plan(notes=[note]), 1, verbose=False).splitlines()
    assert lines == ["note: /t/a.gguf is not ours", "No changes. 1 model matches models.yaml."]
