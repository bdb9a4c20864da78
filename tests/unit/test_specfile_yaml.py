"""Bad YAML in models.yaml: nothing changes its meaning silently, and nothing explodes."""

from __future__ import annotations

from itertools import pairwise
from pathlib import Path

import pytest

from spec_texts import EMPTY, HEAD, complaints, write

# Each row: the text of models.yaml, and what follows "models.yaml:" in each expected line.
BAD: dict[str, tuple[str | bytes, list[str]]] = {
    "an empty file": ("", [f"1:1: {EMPTY}"]),
    "nothing but comments": ("# models:\n#   a: b\n", [f"1:1: {EMPTY}"]),
    "an empty document": ("---\n...\n", [f"2:1: {EMPTY}"]),
    "keys given twice": (
        HEAD + "  a: {source: {gguf: x}}\n  a: {source: {gguf: z}}\nversion: 1\n",
        [
            "4:3: models.a: the key is given twice, first at 3:3; keep one",
            "5:1: version: the key is given twice, first at 1:1; keep one",
        ],
    ),
    "keys that are not text": (
        HEAD + "  5: {source: {gguf: x}}\n  ~: {source: {gguf: x}}\n  [a]: {source: {gguf: x}}\n",
        [
            "3:3: models: the key 5 is not text; put it in quotes",
            "4:3: models: the key ~ is not text; put it in quotes",
            "5:3: models: a key that is not plain text; write it as text",
        ],
    ),
    "words that YAML 1.1 and 1.2 read differently": (
        HEAD + "  a:\n    source: {gguf: 2024-01-31}\n    preload: yes\n    system: 1_000\n"
        "    keep_alive: 12:30:45\n    parameters: {num_ctx: 010, seed: 0o14, temperature: 1e-1}\n",
        [
            (
                "4:20: models.a.source.gguf: 2024-01-31 is a date to some YAML readers, "
                'and not to others; write "2024-01-31" in quotes'
            ),
            (
                "5:14: models.a.preload: yes is a boolean to some YAML readers, "
                'and not to others; write "yes" in quotes, or true or false'
            ),
            (
                "6:13: models.a.system: 1_000 is a number to some YAML readers, "
                'and not to others; write "1_000" in quotes, or a plain number'
            ),
            (
                "7:17: models.a.keep_alive: 12:30:45 is a number in base 60 to some YAML readers, "
                'and not to others; write "12:30:45" in quotes'
            ),
            (
                "8:27: models.a.parameters.num_ctx: 010 is an octal number to some YAML readers, "
                'and not to others; write "010" in quotes, or a plain number'
            ),
            (
                "8:38: models.a.parameters.seed: 0o14 is an octal number to some YAML readers, "
                'and not to others; write "0o14" in quotes, or a plain number'
            ),
            (
                "8:57: models.a.parameters.temperature: 1e-1 is a number to some YAML readers, "
                'and not to others; write "1e-1" in quotes, or a plain number'
            ),
        ],
    ),
    "a key that is a boolean to some": (
        HEAD + "  on: {source: {gguf: x}}\n",
        [
            (
                "3:3: models: on is a boolean to some YAML readers, and not to others; "
                'write "on" in quotes, or true or false'
            )
        ],
    ),
    "tags": (
        HEAD + "  a: {source: {gguf: !!str 5}}\n",
        [
            "3:22: models.a.source.gguf: tags such as !!str are not used here; remove the tag",
        ],
    ),
    "merge keys": (
        HEAD + "  a: &a {source: {gguf: x}}\n  b:\n    <<: *a\n    preload: true\n",
        [
            (
                "5:5: models.b: merge keys are not used here; "
                "write the keys out, or put what all models share under defaults"
            )
        ],
    ),
    "an alias without an anchor": (
        HEAD + "  a: *b\n",
        ["3:6: models.a: *b has no anchor above it; add &b"],
    ),
    "an alias that holds itself": (
        HEAD + "  a: &a {source: *a}\n",
        ["3:18: models.a.source: *a holds itself; write the value out"],
    ),
    "aliases that explode": (
        "a: &a [x,x,x,x,x,x,x,x,x]\n"
        + "".join(
            f"{name}: &{name} [{','.join([f'*{before}'] * 9)}]\n"
            for before, name in pairwise("abcdefg")
        ),
        ["6:4: f: more than 200,000 values, with aliases written out; make the file smaller"],
    ),
    "a deep file": (
        "a: " + "[" * 100_000,
        [
            f"1:35: a{'[0]' * 31}: nested more than 32 deep; make it flatter",
        ],
    ),
    "two documents": (
        "version: 1\nmodels: {}\n---\nversion: 1\n",
        ["3:1: a second document begins here; keep one, or use a folder of files"],
    ),
    "a tab": (HEAD + "\ta: b\n", ["3:1: a tab where spaces are needed; indent with spaces"]),
    "an open quote": (HEAD + '  a: "b\n', ["3:6: a quote that is never closed; close it"]),
    "an open brace": (
        HEAD + "  a: {source: {gguf: x}\n",
        ['3:24: a "," or "}" is missing; close the "{" opened at 3:6'],
    ),
    "a colon in text": (
        HEAD + "  a: b: c\n",
        [
            (
                '3:7: a ":" that does not fit here; '
                'indent the keys of one mapping alike, and quote text that holds ": "'
            )
        ],
    ),
    "a key without a colon": (
        HEAD + "  a:\n    source: {gguf: x}\n    system\n  b: {}\n",
        ['5:5: a key without ": " after it; write "key: value"'],
    ),
    "a star": (
        HEAD + "  a: *.gguf\n",
        ['3:7: "*" and "&" stand for aliases and anchors here; put the text in quotes'],
    ),
    "an at sign": (HEAD + "  a: @b\n", ['3:6: "@" cannot begin a value; put the value in quotes']),
    "wrong indentation": (
        HEAD + "  a:\n    source: {gguf: x}\n   system: b\n",
        ["5:4: a key was expected here; indent as the lines above, or check the quotes"],
    ),
    "a reference without quotes in braces": (
        HEAD + "  a: {source: {gguf: ${env:X}}}\n",
        ['3:23: a "," or "}" is missing; put ${env:...} in quotes inside { } and [ ]'],
    ),
    "faults before a syntax error": (
        HEAD + "  a: {preload: no}\n  b: }\n",
        [
            (
                "3:16: models.a.preload: no is a boolean to some YAML readers, and not to others; "
                'write "no" in quotes, or true or false'
            ),
            "4:6: a value was expected here; write one, or put it in quotes",
        ],
    ),
    "environment": (
        HEAD + '  a: {source: {gguf: "${env:NOPE}/x"}, system: "${env:1}"}\n',
        [
            (
                "3:22: models.a.source.gguf: the environment variable NOPE is not set; "
                "set it, or write ${env:NOPE:-default}"
            ),
            (
                "3:48: models.a.system: ${env:1} is not a reference; "
                "write ${env:NAME} or ${env:NAME:-default}; $${env: stands for itself"
            ),
        ],
    ),
    "bytes that are not UTF-8": (
        b"version: 1\n# caf\xe9\n",
        ["2:6: the byte 0xe9 is not UTF-8; save the file as UTF-8"],
    ),
    "UTF-16": (HEAD.encode("utf-16"), ["1:1: the file is UTF-16; save it as UTF-8"]),
    "control characters": (
        "version: 1\nmodels: {}\n# a\0b\n# c\x1bd e\u2028f\n",
        [
            "3:4: the control character U+0000; remove it",
            '4:4: the control character U+001B; remove it, or write "\\u001b" in double quotes',
            '4:8: the control character U+2028; remove it, or write "\\u2028" in double quotes',
        ],
    ),
    "an escaped NUL": (
        HEAD + '  a: {source: {gguf: "x\\0y"}}\n',
        ["3:22: models.a.source.gguf: a NUL character; remove it"],
    ),
}


@pytest.mark.parametrize("name", BAD)
def test_bad_yaml_is_told_of_line_by_line(name: str, tmp_path: Path) -> None:
    text, expected = BAD[name]
    assert complaints(write(tmp_path, text)) == [f"models.yaml:{line}" for line in expected]
