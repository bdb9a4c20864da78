"""`paddock chat` as one command, through a daemon and without one, against a real Ollama."""

from __future__ import annotations

import base64
import contextlib
import io
import json
import os
import re
import shutil
import signal
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from paddock.cli import chat as chat_module
from paddock.cli.chat import Chat, Streams, run_chat
from paddock_cli import COMMAND, Daemon, Result, User
from provider import RealPaths
from real import RealOllama
from terminal import Terminal
from tiny_files import picture
from tiny_models import chat_model, projector

PARAMETERS = "parameters: {num_thread: 1, temperature: 0, seed: 1, num_predict: 6}"
TINY = f"  tiny:\n    source: {{gguf: ./smol.gguf}}\n    {PARAMETERS}\n"
MODELS = f"""\
{TINY}\
  endless:
    source: {{gguf: ./smol.gguf}}
    parameters: {{num_thread: 1, num_predict: -1}}
  seeing:
    source: {{gguf: ./other.gguf, projector: ./projector.gguf}}
    {PARAMETERS}
  thinking:
    source: {{model: tiny}}
    template: >-
      {{{{ range .Messages }}}}{{{{ if .Thinking }}}}<think>{{{{ .Thinking }}}}</think>{{{{ end }}}}
      {{{{ .Content }}}}{{{{ end }}}}<think>
  lost:
    source: {{gguf: ./nowhere.gguf}}
"""


class Person(User):
    """A user whose files are tiny ones."""

    def __post_init__(self) -> None:
        self.folder.mkdir(parents=True, exist_ok=True)
        self.gguf.write_bytes(chat_model())
        (self.folder / "other.gguf").write_bytes(chat_model(seed=2))
        (self.folder / "projector.gguf").write_bytes(projector())


def is_made(daemon: Daemon) -> bool:
    """Whether all is there but the one that never will be."""
    models = {m["name"]: m["conditions"][0]["status"] for m in daemon.status()["models"]}
    return [name for name, ready in sorted(models.items()) if ready != "True"] == ["lost"]


@pytest.fixture(scope="module")
def user(module_ollama: RealOllama, tmp_path_factory: pytest.TempPathFactory) -> Iterator[User]:
    """A user whose daemon has made all that can be made."""
    person = Person(tmp_path_factory.mktemp("user"), module_ollama)
    person.declare(MODELS)
    with person.daemon() as daemon:
        daemon.wait(lambda: is_made(daemon), "the models are made", timeout_s=60)
        yield person


def chat(user: User, *arguments: str | Path, stdin: bytes = b"") -> Result:
    """Runs `paddock chat` with something on stdin."""
    done = subprocess.run(
        [*COMMAND, "chat", *arguments],
        env=user.environment,
        cwd=user.folder,
        input=stdin,
        capture_output=True,
        timeout=60,
        check=False,
    )
    return Result(done.returncode, done.stdout.decode(), done.stderr.decode())


def tokens(result: Result) -> int:
    """How much the model was given to read."""
    assert result.code == 0, result
    count: int = json.loads(result.out.splitlines()[-1])["prompt_eval_count"]
    return count


def test_the_prompt_is_an_argument_or_stdin_or_both(user: User) -> None:
    """Both, as `ollama run` has it: what is piped in, then what is asked about it."""
    argument = tokens(chat(user, "tiny", "ba be bi", "--json"))
    piped = tokens(chat(user, "tiny", "--json", stdin=b"ba be bi"))
    both = tokens(chat(user, "tiny", "ba be bi", "--json", stdin=b"do du da de di\n"))
    assert argument == piped
    assert both > argument


def test_an_empty_stdin_is_no_prompt(user: User) -> None:
    result = chat(user, "tiny", stdin=b" \n")
    assert (result.code, result.out) == (1, "")
    assert result.err == "paddock: the prompt is empty; give one as an argument or on stdin\n"


def test_a_closed_stdin_is_none(user: User) -> None:
    command = ["sh", "-c", 'exec "$@" <&-', "sh", *COMMAND, "chat", "tiny", "ba"]
    done = subprocess.run(command, env=user.environment, capture_output=True, check=False)
    assert done.returncode == 0, done
    assert done.stdout.strip()


def test_the_system_message_is_read_too(user: User) -> None:
    without = tokens(chat(user, "tiny", "ba", "--json"))
    assert tokens(chat(user, "tiny", "ba", "--json", "--system", "bo bu ba")) > without


def test_images_are_seen_and_may_be_several(user: User) -> None:
    red, blue = user.folder / "red.png", user.folder / "blue.png"
    red.write_bytes(base64.b64decode(picture((255, 0, 0))))
    blue.write_bytes(base64.b64decode(picture((0, 0, 255))))
    one = chat(user, "seeing", "ba", "--image", red, "--json")
    two = chat(user, "seeing", "ba", "--image", red, "--image", blue, "--json")
    assert tokens(two) > tokens(one) > tokens(chat(user, "seeing", "ba", "--json"))


def test_an_image_that_cannot_be_read_is_told_and_nobody_is_asked(user: User) -> None:
    result = chat(user, "seeing", "ba", "--image", "nowhere.png")
    assert (result.code, result.out) == (1, "")
    assert "cannot read the image nowhere.png: No such file or directory" in result.err


def test_an_image_for_a_model_that_sees_nothing_is_told_in_words(user: User) -> None:
    image = user.folder / "image.png"
    image.write_bytes(base64.b64decode(picture((0, 255, 0))))
    result = chat(user, "tiny", "ba", "--image", image)
    assert (result.code, result.out) == (1, "")
    assert result.err.startswith("paddock: ")
    assert "{" not in result.err


def test_a_model_that_waits_for_a_person_is_not_waited_for(user: User) -> None:
    result = chat(user, "lost", "ba")
    assert (result.code, result.out) == (1, "")
    assert result.err == (
        f'paddock: lost cannot be served: source "{user.folder}/nowhere.gguf" does not exist; '
        "create it or set state: absent (SourceMissing)\n"
    )


def test_a_model_that_nobody_declared_is_told_at_once(user: User) -> None:
    result = chat(user, "nobody", "ba")
    assert (result.code, result.out) == (1, "")
    assert "not found" in result.err


def test_an_interrupt_ends_one_answer_with_130(user: User) -> None:
    command = [*COMMAND, "chat", "endless", "ba"]
    with subprocess.Popen(
        command, env=user.environment, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE
    ) as process:
        assert process.stdout is not None
        assert process.stdout.read(5)
        process.send_signal(signal.SIGINT)
        process.stdout.read()
        assert process.wait(20) == 130


def test_a_reader_that_goes_ends_it(user: User) -> None:
    command = [*COMMAND, "chat", "endless", "ba"]
    with subprocess.Popen(
        command,
        env=user.environment,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
    ) as process:
        assert process.stdout is not None
        assert process.stderr is not None
        assert process.stdout.read(5)
        process.stdout.close()
        assert process.wait(20) == 1
        assert process.stderr.read() == b""


def test_without_a_daemon_ollama_is_asked_and_that_is_said(user: User) -> None:
    result = run_without_daemon(user, "tiny", "ba")
    assert result.code == 0
    assert result.out.strip()
    url = user.server.url
    assert result.err == f"paddock: no daemon answers; asking ollama at {url} directly\n"


def run_without_daemon(user: User, *arguments: str) -> Result:
    """`paddock chat` of somebody whose settings lead to no daemon."""
    env = {"OLLAMA_MODELS": str(user.folder / "none"), "PADDOCK_SOCKET": str(user.folder / "no")}
    done = subprocess.run(
        [*COMMAND, "chat", *arguments],
        env=user.environment | env,
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        check=False,
    )
    return Result(done.returncode, done.stdout, done.stderr)


@contextlib.contextmanager
def away(ollama: RealOllama, folder: Path) -> Iterator[tuple[User, Daemon]]:
    """A user whose daemon has seen the end of Ollama."""
    person = Person(folder, ollama)
    person.declare(TINY)
    with person.daemon() as daemon:
        daemon.wait_ready()
        ollama.stop()
        gone = ("False", "OllamaUnreachable")
        daemon.wait(lambda: daemon.condition("OllamaReachable") == gone, "its end is seen")
        yield person, daemon


def test_why_it_waits_is_told_at_once_and_the_answer_comes_when_it_can(
    ollama: RealOllama, tmp_path: Path
) -> None:
    with (
        away(ollama, tmp_path / "user") as (person, _),
        subprocess.Popen(
            [*COMMAND, "chat", "tiny", "ba"],
            env=person.environment,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        ) as process,
    ):
        assert process.stderr is not None
        told = process.stderr.readline()
        assert told.startswith(f"paddock: waiting: Ollama does not answer at {ollama.url}")
        ollama.start()
        out, _ = process.communicate(timeout=30)
        assert process.returncode == 0
        assert out.strip()


def test_an_ollama_that_stays_away_is_not_waited_for_long(
    ollama: RealOllama, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(chat_module, "AWAY_S", 0.5)
    with away(ollama, tmp_path / "user") as (person, _):
        told = io.StringIO()
        streams = Streams(io.StringIO(), io.StringIO(), told)
        assert run_chat(Chat("tiny", person.socket, ollama.url), "ba", streams) == 11
    waits, ends = told.getvalue().splitlines()
    assert waits.startswith("paddock: waiting: Ollama does not answer")
    assert ends.startswith("paddock: Ollama does not answer")


@pytest.fixture
def slow_ollama(real: RealPaths, tmp_path: Path) -> Iterator[RealOllama]:
    """A server whose runners take two seconds more to start."""
    program, library = tmp_path / "slow" / "bin", tmp_path / "slow" / "lib" / "ollama"
    program.mkdir(parents=True)
    library.mkdir(parents=True)
    try:
        os.link(real.ollama, program / "ollama")
    except OSError:
        shutil.copy2(real.ollama, program / "ollama")
    runner = library / "llama-server"
    runner.write_text(
        f'#!/bin/sh\ncase "$*" in *--model*) sleep 2;; esac\nexec {real.llama_server} "$@"\n'
    )
    runner.chmod(0o755)
    if real.llama_quantize is not None:
        (library / "llama-quantize").symlink_to(real.llama_quantize)
    with RealOllama(real._replace(ollama=program / "ollama"), tmp_path / "ollama") as server:
        yield server


def test_a_load_is_shown_on_a_terminal_and_the_line_is_gone_before_the_answer(
    slow_ollama: RealOllama, tmp_path: Path
) -> None:
    if slow_ollama.paths.llama_server is None:
        pytest.skip("an installed Ollama hides its runner")
    person = Person(tmp_path / "user", slow_ollama)
    person.declare(TINY)
    with person.daemon() as daemon:
        daemon.wait_ready()
        command = [*COMMAND, "chat", "tiny", "ba"]
        with Terminal(command, person.environment, term="xterm") as terminal:
            seen = terminal.wait_for(" s")
            assert re.search(r"loading tiny \(28\d\.\d kB\): \d+ s", seen)
            answer = terminal.wait_for("\n").rpartition("\r\x1b[K")[2]
            assert answer.strip()
            assert "loading" not in answer
            assert terminal.ends() == 0


def test_no_line_is_drawn_where_there_is_no_terminal(
    slow_ollama: RealOllama, tmp_path: Path
) -> None:
    person = Person(tmp_path / "user", slow_ollama)
    person.declare(TINY)
    with person.daemon() as daemon:
        daemon.wait_ready()
        result = chat(person, "tiny", "ba")
    assert (result.code, result.err) == (0, "")
    assert "\x1b" not in result.out


def test_a_conversation_goes_on_after_a_model_that_cannot_be_served(user: User) -> None:
    with Terminal([*COMMAND, "chat", "lost"], user.environment) as terminal:
        terminal.wait_for(">>> ")
        terminal.type("ba\n")
        terminal.wait_for("lost cannot be served")
        terminal.wait_for(">>> ", times=2)
        terminal.type("/bye\n")
        assert terminal.ends() == 1


def test_a_conversation_written_to_a_file_has_no_prompts_in_it(user: User) -> None:
    file = user.folder / "answers.txt"
    command = ["sh", "-c", f'exec "$@" > {file}', "sh", *COMMAND, "chat", "tiny"]
    with Terminal(command, user.environment) as terminal:
        terminal.wait_for(">>> ")
        terminal.type("ba be\n")
        terminal.wait_for(">>> ", times=2)
        terminal.type("/bye\n")
        assert terminal.ends() == 0
    assert file.read_text().strip()
    assert ">>>" not in file.read_text()


def test_an_interrupt_stops_a_wait_and_not_the_conversation(
    ollama: RealOllama, tmp_path: Path
) -> None:
    with (
        away(ollama, tmp_path / "user") as (person, daemon),
        Terminal([*COMMAND, "chat", "tiny"], person.environment) as terminal,
    ):
        terminal.wait_for(">>> ")
        terminal.type("ba\n")
        terminal.wait_for("waiting: Ollama does not answer")
        terminal.interrupt()
        terminal.wait_for("stopped")
        ollama.start()
        daemon.wait_ready()
        terminal.wait_for(">>> ", times=2)
        terminal.type("ba\n")
        terminal.wait_for(">>> ", times=3)
        terminal.type("\x04")
        assert terminal.ends() == 0


def test_what_a_model_thinks_is_shown_on_a_terminal_and_is_no_part_of_the_answer(
    user: User,
) -> None:
    result = chat(user, "thinking", "ba")
    assert (result.code, result.out, result.err) == (0, "", "")
    lines = [json.loads(line) for line in chat(user, "thinking", "ba", "--json").out.splitlines()]
    thought = "".join(line["message"].get("thinking", "") for line in lines)
    assert thought
    command = [*COMMAND, "chat", "thinking", "ba"]
    with Terminal(command, user.environment, term="xterm") as terminal:
        seen = terminal.wait_for("\n\r\n")
        assert terminal.ends() == 0
    assert f"(thinking) {' '.join(thought.split())}" in " ".join(seen.split())


def test_a_stdin_that_stays_open_is_waited_for_and_that_is_said(user: User) -> None:
    with subprocess.Popen(
        [*COMMAND, "chat", "tiny", "ba"],
        env=user.environment,
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    ) as process:
        assert process.stderr is not None
        told = "paddock: waiting for the end of stdin; add < /dev/null where none is meant\n"
        assert process.stderr.readline() == told
        out, _ = process.communicate("be bi\n", timeout=30)
        assert process.returncode == 0
        assert out.strip()
