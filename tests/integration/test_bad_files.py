"""A bad models.yaml: every problem in one line with its place, exit code 10, nothing changed."""

from __future__ import annotations

import pytest

from paddock_cli import HEAD, SMOL, User
from real import RealOllama
from snapshots import store_snapshot

# What is wrong: the file, and what follows its path on each line of stderr.
BAD: dict[str, tuple[str | bytes, list[str]]] = {
    "empty": (
        "",
        [
            (
                ":1:1: the file is empty; an empty file never removes anything: "
                "write version: 1 and models: {} to declare none"
            )
        ],
    ),
    "not UTF-8": (
        b"version: 1\nmodels:\n  \xff: {}\n",
        [":3:3: the byte 0xff is not UTF-8; save the file as UTF-8"],
    ),
    "a NUL byte": (
        "version: 1\nmodels: {}\n\0",
        [":3:1: the control character U+0000; remove it"],
    ),
    "a list": (
        "- a\n",
        [":1:1: must be a mapping, not a list; write version: 1 and models:"],
    ),
    "cut short": (
        "version: 1\nmodels: {smol: {source: \n",
        [":2:25: a value was expected here; write one, or put it in quotes"],
    ),
    "no version": ("models: {}\n", [":1:1: version: is missing; write version: 1"]),
    "another version": (
        "version: 2\nmodels: {}\n",
        [":1:10: version: must be 1, the one version there is; write version: 1"],
    ),
    "a tab": (
        f"{HEAD}\tsmol: {{}}\n",
        [":3:1: a tab where spaces are needed; indent with spaces"],
    ),
    "a name twice": (
        HEAD + SMOL + SMOL,
        [":5:3: models.smol: the key is given twice, first at 3:3; keep one"],
    ),
    "a misspelt key": (
        f"{HEAD}{SMOL}    keep_alve: 5m\n",
        [':5:5: models.smol.keep_alve: unknown key; did you mean "keep_alive"?'],
    ),
    "no for false": (
        f"{HEAD}{SMOL}    preload: no\n",
        [
            (
                ":5:14: models.smol.preload: no is a boolean to some YAML readers, and not to "
                'others; write "no" in quotes, or true or false'
            )
        ],
    ),
    "an octal number": (
        f"{HEAD}{SMOL}    parameters: {{top_k: 010}}\n",
        [
            (
                ":5:25: models.smol.parameters.top_k: 010 is an octal number to some YAML readers, "
                'and not to others; write "010" in quotes, or a plain number'
            )
        ],
    ),
    "two sources": (
        f"{HEAD}  smol:\n    source: {{gguf: a.gguf, model: b}}\n",
        [
            (
                ":4:13: models.smol.source: gguf and model are given, but a model has one source; "
                "keep one"
            )
        ],
    ),
    "a name that is none": (
        f"{HEAD}  'a b':\n    source: {{gguf: ./smol.gguf}}\n",
        [
            (
                ':3:3: models."a b": "a b" is not a model name: the model holds " "; '
                "use letters, digits and _ - ."
            )
        ],
    ),
    "a name of the cloud": (
        f"{HEAD}  smol:cloud:\n    source: {{gguf: ./smol.gguf}}\n",
        [
            (
                ':3:3: models.smol:cloud: "smol:cloud" is not a model name: Ollama keeps the tag '
                '"cloud" to itself; use another tag'
            )
        ],
    ),
    "a time that is none": (
        f"{HEAD}{SMOL}    keep_alive: soon\n",
        [
            (
                ':5:17: models.smol.keep_alive: "soon" is not a time; '
                "write 5m, 1h30m, a number of seconds, 0 or forever"
            )
        ],
    ),
    "a misspelt option": (
        f"{HEAD}{SMOL}    parameters: {{tempreature: 1}}\n",
        [
            (
                ":5:18: models.smol.parameters.tempreature: unknown option of Ollama; "
                'did you mean "temperature"?'
            )
        ],
    ),
    "an option of another type": (
        f"{HEAD}{SMOL}    parameters: {{temperature: hot}}\n",
        [":5:31: models.smol.parameters.temperature: must be a number, not text"],
    ),
    "a circle of bases": (
        f"{HEAD}  a: {{source: {{model: b}}}}\n  b: {{source: {{model: a}}}}\n",
        [
            (
                ":3:23: models.a.source.model: the models are based on each other in a circle: "
                "a -> b -> a; give one of them a gguf or a registry source"
            )
        ],
    ),
    "a variable that is not set": (
        f"{HEAD}  smol:\n    source: {{gguf: '${{env:NOWHERE}}/x.gguf'}}\n",
        [
            (
                ":4:20: models.smol.source.gguf: the environment variable NOWHERE is not set; "
                "set it, or write ${env:NOWHERE:-default}"
            )
        ],
    ),
    "two problems": (
        f"{HEAD}{SMOL}    preload: 3\n    keep_alve: 5m\n",
        [
            ":5:14: models.smol.preload: must be true or false, not the number 3",
            ':6:5: models.smol.keep_alve: unknown key; did you mean "keep_alive"?',
        ],
    ),
}


@pytest.fixture(scope="module")
def owner(module_ollama: RealOllama, tmp_path_factory: pytest.TempPathFactory) -> User:
    """A user who has applied a good file."""
    user = User(tmp_path_factory.mktemp("user"), module_ollama)
    user.declare(SMOL)
    user.apply()
    return user


@pytest.mark.parametrize("case", BAD)
def test_a_bad_file_is_refused_with_its_places_and_changes_nothing(owner: User, case: str) -> None:
    text, lines = BAD[case]
    owner.file.write_bytes(text if isinstance(text, bytes) else text.encode())
    before = store_snapshot(owner.server.models_dir)
    with owner.server.recorded() as requests:
        result = owner.paddock("apply")
    expected = "".join(f"paddock: {owner.file}{line}\n" for line in lines)
    assert result == (10, "", expected)
    assert requests == []
    assert store_snapshot(owner.server.models_dir) == before


@pytest.mark.parametrize("command", ["validate", "plan", "status", "run"])
def test_every_command_that_reads_the_file_refuses_it_alike(owner: User, command: str) -> None:
    owner.declare(f"{SMOL}    keep_alve: 5m\n")
    hint = 'models.smol.keep_alve: unknown key; did you mean "keep_alive"?'
    result = owner.paddock(command)
    assert (result.code, result.out) == (10, "")
    assert f"paddock: {owner.file}:5:5: {hint}" in result.err.splitlines()


def test_a_file_that_is_not_there_is_told_in_one_line(owner: User) -> None:
    missing = owner.folder / "missing.yaml"
    result = owner.paddock("apply", "-f", missing)
    assert result.code == 10
    assert len(result.err.splitlines()) == 1
    assert str(missing) in result.err
