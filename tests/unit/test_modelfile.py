"""A Modelfile is read as Ollama v0.34.4 reads it; what that would refuse names its line.

The rows were tried against Ollama's own parser (parser.ParseFile and api.FormatParams).
"""

from __future__ import annotations

import time
from dataclasses import fields

import pytest

from paddock.core.modelfile import IGNORED, Modelfile, Reference, read_modelfile
from paddock.core.modelfile_syntax import Command, ModelfileError, parse
from paddock.core.parameters import OBSOLETE, Parameters
from paddock.core.spec import Message

COMMANDS = (
    "write one of FROM, PARAMETER, TEMPLATE, SYSTEM, MESSAGE, LICENSE, "
    "ADAPTER, DRAFT, RENDERER, PARSER, REQUIRES"
)
LATER = "not supported by this version of paddock"
NEWER = "remove it, or use a newer version"
PARAMETER_FORM = "PARAMETER is not followed by one space, a name and a value"

# Each row: what follows FROM x in a Modelfile, and the args of the one command that it is.
VALUES: dict[str, tuple[str, str]] = {
    "a word": ("SYSTEM hi", "hi"),
    "words": ("SYSTEM a b  c", "a b  c"),
    "blanks around": ("SYSTEM  \t a b \t ", "a b"),
    "a tab between": ("SYSTEM\tx\ty", "x\ty"),
    "a tab before": ("\t SYSTEM x", "x"),
    "lower case": ("system x", "x"),
    "mixed case": ("SysTem x", "x"),
    "nothing": ("SYSTEM \n", ""),
    "quotes": ('SYSTEM "a b "', "a b "),
    "no text in quotes": ('SYSTEM ""', ""),
    "quotes within quotes": ('SYSTEM "He said "no" then"', 'He said "no" then'),
    "quotes further on": ('SYSTEM a "b"', 'a "b"'),
    "single quotes": ("SYSTEM 'a'", "'a'"),
    "quotes over lines": ('SYSTEM "a\n b\n"', "a\n b\n"),
    "three quotes": ('SYSTEM """a"""', "a"),
    "three quotes over lines": ('SYSTEM """\na\n\n  b\n"""', "\na\n\n  b\n"),
    "three quotes and text that ends in quotes": ('SYSTEM """a"\nb""\n"""', 'a"\nb""\n'),
    "three quotes that close later": ('SYSTEM """a""" b\nc"""', 'a""" b\nc'),
    "no text in three quotes": ('SYSTEM """"""', ""),
    "four quotes": ('SYSTEM """"a""""', '"a"'),
    "a command within quotes": ('SYSTEM """\nFROM y\n"""', "\nFROM y\n"),
    "a comment within quotes": ('SYSTEM """\n# a\n"""', "\n# a\n"),
    "a comment after text": ("SYSTEM a # b", "a # b"),
    "blanks after quotes": ('SYSTEM "a"  \n', "a"),
    "Windows lines": ('SYSTEM """a\r\nb"""\r\n', "a\r\nb"),
    "old Macintosh lines": ("SYSTEM a\r# b\r", "a"),
    "what cannot be printed": ("SYSTEM a\0b\u00a0c\u200dd\x1be\vf", "abcdef"),
    "such before a command": ("\u00a0SYSTEM a", "a"),
    "other scripts": ("SYSTEM é 日本 👩 {{ .X }}", "é 日本 👩 {{ .X }}"),
}

# Each row: a whole Modelfile that Ollama refuses as well (but where a comment says otherwise).
BAD: dict[str, tuple[str | bytes, list[tuple[int, str, str]]]] = {
    "nothing": ("", [(1, "there is no FROM line", "write FROM and a model's name or file")]),
    "no FROM": (
        "# FROM x\nSYSTEM a\n",
        [(1, "there is no FROM line", "write FROM and a model's name or file")],
    ),
    "a misspelt command": ("FROM x\n\nSYSTEMS a\n", [(3, '"SYSTEMS" is not a command', COMMANDS)]),
    "text without quotes": (
        "FROM x\nSYSTEM a\nb c\n",
        [(3, '"b" is not a command', COMMANDS)],
    ),
    "text after a closed quote": (
        'FROM x\nSYSTEM "a"\nand more"\n',
        [(3, '"and" is not a command', COMMANDS)],
    ),
    "a colon": ("FROM: x\n", [(1, '"FROM:" is not a command', COMMANDS)]),
    "a word of controls": (
        "FROM x\nA\x1b[2J y\n",
        [(2, '"A\\u001b[2J" is not a command', COMMANDS)],
    ),
    "no value": ("FROM x\nSYSTEM\n", [(2, "SYSTEM has no value", "write one after a space")]),
    "no value at the end": ("FROM", [(1, "FROM has no value", "write one after a space")]),
    "an open quote": (
        'FROM x\r\n\r\nSYSTEM "a\r\n\r\nb\r\n',
        [(3, '" is not closed', "close it at a line's end")],
    ),
    "three open quotes": (
        'FROM x\nSYSTEM """a\nb"\n',
        [(2, '""" is not closed', "close it at a line's end")],
    ),
    "two quotes at the end of three": (
        'FROM x\nSYSTEM """""\n',
        [(2, '""" is not closed', "close it at a line's end")],
    ),
    "two spaces after PARAMETER": (
        "FROM x\nPARAMETER  seed 1\n",
        [(2, PARAMETER_FORM, "write PARAMETER NAME VALUE")],
    ),
    "a parameter without a value": (
        "FROM x\nPARAMETER seed\n",
        [(2, PARAMETER_FORM, "write PARAMETER NAME VALUE")],
    ),
    "a parameter with a dash": (
        "FROM x\nPARAMETER top-k 1\n",
        [(2, PARAMETER_FORM, "write PARAMETER NAME VALUE")],
    ),
    "a role in capitals": (
        "FROM x\nMESSAGE User a\n",
        [(2, '"User" is not a role', "write one of system, user, assistant, in lower case")],
    ),
    "two spaces after MESSAGE": (
        "FROM x\nMESSAGE  user a\n",
        [
            (
                2,
                "no role follows MESSAGE and one space",
                "write one of system, user, assistant, in lower case",
            )
        ],
    ),
    "a message without a text": (
        "FROM x\nMESSAGE user\n",
        [
            (
                2,
                "MESSAGE is not followed by one space, a name and a value",
                "write MESSAGE ROLE TEXT",
            )
        ],
    ),
    "options that Ollama does not have": (
        (
            "FROM x\nPARAMETER tempreature 1\nPARAMETER Seed 1\nPARAMETER numa true\n"
            "PARAMETER typical_p 1\n"
        ),
        [
            (2, "PARAMETER tempreature: unknown option of Ollama", 'did you mean "temperature"?'),
            (3, "PARAMETER Seed: unknown option of Ollama", 'did you mean "seed"?'),
            (4, "PARAMETER numa: Ollama no longer has this option", "remove it"),
            (5, "PARAMETER typical_p: Ollama no longer has this option", "remove it"),
        ],
    ),
    "values that are none": (
        (
            "FROM x\nPARAMETER num_ctx 4k\nPARAMETER top_p high\nPARAMETER use_mmap yes\n"
            "PARAMETER seed 1 # one\nPARAMETER top_k 1.0\nPARAMETER temperature 1e39\n"
            "PARAMETER min_p inf\nPARAMETER num_gpu 0x10\nPARAMETER num_batch\t\n"
            "PARAMETER top_p 1e400\n"
        ),
        [
            (2, 'PARAMETER num_ctx: "4k" is not a whole number', ""),
            (3, 'PARAMETER top_p: "high" is not a number', ""),
            (4, 'PARAMETER use_mmap: "yes" is not true or false', ""),
            (
                5,
                'PARAMETER seed: "1 # one" is not a whole number',
                "put the comment on a line of its own",
            ),
            (6, 'PARAMETER top_k: "1.0" is not a whole number', ""),
            (7, 'PARAMETER temperature: "1e39" is not a number that Ollama can hold', ""),
            (8, 'PARAMETER min_p: "inf" is not a number', ""),
            (9, 'PARAMETER num_gpu: "0x10" is not a whole number', ""),
            (10, 'PARAMETER num_batch: "" is not a whole number', ""),
            (11, 'PARAMETER top_p: "1e400" is not a number that Ollama can hold', ""),
        ],
    ),
    # Ollama takes these two, and rounds the one and sends the other.
    "values that Ollama would change": (
        "FROM x\nPARAMETER seed 9007199254740993\nPARAMETER stop a\nPARAMETER stop\t\n",
        [
            (
                2,
                "PARAMETER seed: is not a number that Ollama can hold",
                "write a smaller one",
            ),
            (4, "PARAMETER stop: must not be empty", "write a value, or remove it"),
        ],
    ),
    "what Paddock cannot do yet": (
        "FROM x\nRENDERER r\nPARSER p\nREQUIRES 0.14.0\n",
        [
            (2, f"RENDERER is {LATER}", NEWER),
            (3, f"PARSER is {LATER}", NEWER),
            (4, f"REQUIRES is {LATER}", NEWER),
        ],
    ),
    "files that are none, or one too many": (
        'FROM x\nADAPTER ""\nDRAFT d\nDRAFT e\n',
        [
            (2, "ADAPTER names nothing", "write the path of a GGUF file"),
            (4, "DRAFT after the one on line 3", "keep one"),
        ],
    ),
    # Ollama takes the Modelfile's own folder for an empty FROM.
    "FROM nothing": (
        'FROM ""\n',
        [(1, "FROM names nothing", "write a model's name or a file")],
    ),
    # Ollama takes PARAMETER system x for SYSTEM x.
    "a command as a parameter": (
        "FROM x\nPARAMETER system x\n",
        [
            (
                2,
                "PARAMETER system: unknown option of Ollama",
                f"allowed here: {', '.join(sorted(Parameters.model_fields))}",
            )
        ],
    ),
    # Ollama puts U+FFFD in place of what is no text.
    "Latin 1": (
        "FROM x\n\nSYSTEM é\n".encode("latin-1"),
        [(3, "not UTF-8 text", "save it as UTF-8")],
    ),
    "half of UTF-16": (
        b"\xff\xfe" + "FROM x\n".encode("utf-16-le") + b"x",
        [(2, "not UTF-16 text", "save it as UTF-8")],
    ),
}


def faults(data: str | bytes) -> list[tuple[int, str, str]]:
    with pytest.raises(ModelfileError) as caught:
        read_modelfile(data if isinstance(data, bytes) else data.encode())
    return [(fault.line, fault.what, fault.hint) for fault in caught.value.faults]


@pytest.mark.parametrize("case", VALUES)
def test_a_value_is_what_ollama_takes_it_for(case: str) -> None:
    text, args = VALUES[case]
    [_, command] = parse(f"FROM x\n{text}".encode())
    assert command == Command("system", args, line=2)


@pytest.mark.parametrize("case", BAD)
def test_what_is_wrong_is_told_with_its_line(case: str) -> None:
    data, expected = BAD[case]
    assert faults(data) == expected


def test_every_command_is_taken_in_any_order() -> None:
    data = (
        "# a comment\n\nLICENSE MIT\n  # another\nPARAMETER stop a\nSYSTEM one\nFROM smol:latest\n"
        'PARAMETER seed 1\nMESSAGE user """a: b"""\nPARAMETER stop "b c"\nTEMPLATE t\n'
        "LICENSE \nMESSAGE assistant  c\nSYSTEM two\nPARAMETER seed 2\n"
    )
    assert read_modelfile(data.encode()) == Modelfile(
        bases=(Reference("smol:latest", 7),),
        template="t",
        system="two",
        parameters=Parameters(stop=("a", "b c"), seed=2),
        messages=(
            Message(role="user", content="a: b"),
            Message(role="assistant", content="c"),
        ),
        license=("MIT", ""),
    )


def test_from_alone_asks_for_nothing_more() -> None:
    found = read_modelfile(b"FROM a b ")
    assert found.bases == (Reference("a b", 1),)
    assert not any(getattr(found, f.name) for f in fields(found) if f.name != "bases")


def test_several_files_may_belong_to_a_model() -> None:
    """Of several adapters the last one counts, as for Ollama."""
    found = read_modelfile(b"FROM a\nFROM b\nADAPTER c\nADAPTER d\nDRAFT e\n")
    assert found.bases == (Reference("a", 1), Reference("b", 2))
    assert (found.adapter, found.draft) == (Reference("d", 4), Reference("e", 5))


def test_an_empty_text_is_as_good_as_none_and_the_last_one_counts() -> None:
    found = read_modelfile(b'FROM x\nSYSTEM a\nSYSTEM ""\nTEMPLATE ""\nTEMPLATE b\n')
    assert (found.system, found.template) == (None, "b")


@pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig", "utf-16"])
def test_a_byte_order_mark_says_the_encoding(encoding: str) -> None:
    found = read_modelfile("FROM x\nSYSTEM é 日本\n".encode(encoding))
    assert (found.bases[0].text, found.system) == ("x", "é 日本")


def test_utf_16_of_the_other_byte_order_is_read() -> None:
    found = read_modelfile(b"\xfe\xff" + "FROM x\nSYSTEM é\n".encode("utf-16-be"))
    assert (found.bases[0].text, found.system) == ("x", "é")


@pytest.mark.parametrize("name", sorted(IGNORED))
def test_an_option_that_ollama_ignores_is_ignored(name: str) -> None:
    assert read_modelfile(f"FROM x\nPARAMETER {name} whatever".encode()).parameters is None
    assert name in OBSOLETE


def test_a_million_quotes_are_read_at_once() -> None:
    """Ollama looks at all of a value again at each of its lines."""
    body = 'a"\n' * 250_000
    begin = time.process_time()
    found = read_modelfile(f'FROM x\nSYSTEM """{body}"""\n'.encode())
    many = parse(b"FROM x\n" * 100_000)
    assert time.process_time() - begin < 5
    assert found.system == body
    assert many[-1] == Command("from", "x", 100_000)
