"""`paddock validate`: what is valid and hardly meant is told, and does not fail."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from paddock.cli.main import main
from paddock.engine.desire import Desire
from spec_texts import HEAD, write

TWO = (
    "  a: {source: {gguf: x}, parameters: {num_ctx: 4096}}\n"
    "  b: {source: {gguf: x}, parameters: {num_ctx: 8192}}\n"
)


def test_a_warning_goes_to_stderr_and_the_file_is_valid(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = write(tmp_path, HEAD + TWO)
    assert main(["validate", str(path)]) == 0
    said = capsys.readouterr()
    assert said.out == f"{path}: valid, 2 models\n"
    assert said.err.startswith(f'warning: {path}:4:3: models.b: shares its GGUF with "a" at {path}')


def test_warnings_are_in_the_json(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = write(tmp_path, HEAD + TWO)
    assert main(["validate", str(path), "-o", "json"]) == 0
    (warning,) = json.loads(capsys.readouterr().out)["warnings"]
    assert (warning["file"], warning["line"], warning["column"]) == (str(path), 4, 3)
    assert warning["where"] == "models.b"
    assert warning["hint"] == "Ollama reloads it whenever the two take turns: give both the same"


def test_what_is_desired_holds_the_warnings_and_the_daemon_hears_of_each_once(
    tmp_path: Path,
) -> None:
    heard: list[str] = []
    desire = Desire(write(tmp_path, HEAD + TWO), {}, heard.append)
    assert desire().warnings == tuple(heard)
    assert desire().warnings == tuple(heard)
    assert len(heard) == 1
