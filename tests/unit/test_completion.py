"""`paddock completion`: a real bash completes commands and options by it."""

from __future__ import annotations

import subprocess

import pytest

from paddock.cli.main import main


def completed(capsys: pytest.CaptureFixture[str], *words: str) -> set[str]:
    assert main(["completion", "bash"]) == 0
    script = capsys.readouterr().out
    asked = " ".join(f"'{word}'" for word in ("paddock", *words))
    ask = f"COMP_WORDS=({asked}); COMP_CWORD={len(words)}; _shtab_paddock"
    done = subprocess.run(
        ["bash", "-c", f'{script}\n{ask}; printf "%s\\n" "${{COMPREPLY[@]}}"'],
        capture_output=True,
        text=True,
        check=True,
    )
    return set(done.stdout.split())


def test_bash_completes_commands_and_options(capsys: pytest.CaptureFixture[str]) -> None:
    assert completed(capsys, "st") == {"status"}
    assert "--detailed-exitcode" in completed(capsys, "plan", "--d")
    assert completed(capsys, "schema", "p") == {"plan"}


@pytest.mark.parametrize("shell", ["zsh", "fish"])
def test_other_shells_get_a_script_that_names_every_command(
    capsys: pytest.CaptureFixture[str], shell: str
) -> None:
    assert main(["completion", shell]) == 0
    script = capsys.readouterr().out
    assert all(command in script for command in ("apply", "explain", "validate"))
