"""Commands that look once: what is wrong with models.yaml is told before all else that is."""

from __future__ import annotations

from pathlib import Path

import pytest

from paddock.cli.main import main
from paddock.errors import OllamaUnreachable, SpecError

NOWHERE = "127.0.0.1:9"


@pytest.mark.parametrize("command", [["plan"], ["status"], ["explain", "smol"]])
@pytest.mark.parametrize(
    ("text", "kind", "told"),
    [
        ("version: 1\nmodels: {smol: {sauce: 1}}\n", SpecError, "models.yaml:2:"),
        ("version: 1\nmodels: {}\n", OllamaUnreachable, "Ollama does not answer"),
    ],
)
@pytest.mark.parametrize("has_folder", [True, False])
def test_an_invalid_file_is_told_before_an_absent_ollama(
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    command: list[str],
    text: str,
    kind: type[SpecError | OllamaUnreachable],
    told: str,
    *,
    has_folder: bool,
) -> None:
    file, folder, socket = (tmp_path / name for name in ("models.yaml", "models", "socket"))
    file.write_text(text)
    if has_folder:
        folder.mkdir()
    where = ["-f", str(file), "--ollama-host", NOWHERE, "--models-dir", str(folder)]
    assert main([*where, "--socket", str(socket), *command]) == kind.exit_code
    assert told in capsys.readouterr().err
