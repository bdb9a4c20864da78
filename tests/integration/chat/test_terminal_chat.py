"""`paddock chat` on a real terminal, against a real Ollama."""

from __future__ import annotations

from pathlib import Path

import pytest

from paddock_cli import COMMAND, clean_environment
from real import RealOllama
from terminal import Terminal

MODELFILE = ("PARAMETER num_thread 1", "PARAMETER temperature 0", "PARAMETER seed 1")


@pytest.fixture(scope="module")
def server(module_ollama: RealOllama) -> RealOllama:
    module_ollama.create_from_gguf("short", modelfile_lines=(*MODELFILE, "PARAMETER num_predict 8"))
    module_ollama.create_from_gguf("long", modelfile_lines=(*MODELFILE, "PARAMETER num_predict -1"))
    return module_ollama


def chat(server: RealOllama, home: Path, model: str, *options: str) -> Terminal:
    env = clean_environment(
        HOME=str(home), OLLAMA_HOST=server.url, OLLAMA_MODELS=str(server.models_dir)
    )
    return Terminal([*COMMAND, "chat", model, *options], env)


def test_a_conversation_takes_turns_and_ctrl_d_leaves(server: RealOllama, tmp_path: Path) -> None:
    with chat(server, tmp_path, "short") as terminal:
        terminal.wait_for(">>> ")
        terminal.type("Name a colour.\n")
        terminal.wait_for(">>> ", times=2)
        terminal.type('"""Name\nanother."""\n')
        terminal.wait_for("... ")
        terminal.wait_for(">>> ", times=3)
        terminal.type("/clear\n")
        terminal.wait_for(">>> ", times=4)
        terminal.type("\x04")
        assert terminal.ends() == 0
    history = tmp_path / ".local" / "state" / "paddock" / "chat_history"
    assert "Name a colour." in history.read_text()
    assert history.stat().st_mode & 0o777 == 0o600


def test_ctrl_c_stops_the_answer_and_not_the_program(server: RealOllama, tmp_path: Path) -> None:
    with chat(server, tmp_path, "long") as terminal:
        terminal.wait_for(">>> ")
        terminal.type("Tell a long story of a thousand words.\n")
        terminal.wait_for("a thousand words.")
        terminal.forget()
        terminal.wait_for(" ", times=5)  # some words of the answer
        terminal.interrupt()
        terminal.wait_for("stopped")
        terminal.wait_for(">>> ")
        terminal.interrupt_until("Ctrl-D or /bye leaves")
        terminal.type("/bye\n")
        assert terminal.ends() == 0


def test_an_unknown_word_after_a_slash_shows_the_help(server: RealOllama, tmp_path: Path) -> None:
    with chat(server, tmp_path, "short", "--system", "Be brief.") as terminal:
        terminal.wait_for(">>> ")
        terminal.type("/what\n")
        terminal.wait_for("/system TEXT")
        terminal.type("/system Be long.\n")
        terminal.wait_for(">>> ", times=3)
        terminal.type("Hello\n")
        terminal.wait_for(">>> ", times=4)
        terminal.type("/bye\n")
        assert terminal.ends() == 0
