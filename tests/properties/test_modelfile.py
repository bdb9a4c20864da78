"""Modelfiles of any bytes: never anything but commands or an error, and what is written is read."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from paddock.core.modelfile import Modelfile, read_modelfile
from paddock.core.modelfile_syntax import KEYWORDS, ROLES, Command, Fault, ModelfileError, parse

BYTE_ORDER_MARKS = (b"", b"\xef\xbb\xbf", b"\xff\xfe", b"\xfe\xff")
PIECES = (
    *(keyword.upper() for keyword in KEYWORDS),
    *("from", "user", "num_ctx", "stop", "temperature", "7", "0.5", "./x.gguf", "x", "#", "é"),
    *(" ", " ", "\t", "\n", "\n", "\r\n", '"', '"""', "\0", "\u200d", "\u00a0"),
)

# Text that comes back as it was: no line of it ends in quotes, and all of it can be printed.
_LINE = st.text(st.characters(categories=("L", "N", "P", "S")), max_size=12).map(
    lambda text: text.replace('"', "'")
)
TEXT = st.lists(_LINE, min_size=1, max_size=4).map("\n".join)
COMMAND = st.one_of(
    st.builds(
        Command,
        keyword=st.sampled_from([k for k in KEYWORDS if k not in {"parameter", "message"}]),
        args=TEXT,
        line=st.just(0),
    ),
    st.builds(
        Command,
        keyword=st.just("parameter"),
        args=TEXT,
        line=st.just(0),
        key=st.from_regex(r"[A-Za-z0-9_]{1,20}", fullmatch=True),
    ),
    st.builds(
        Command,
        keyword=st.just("message"),
        args=TEXT,
        line=st.just(0),
        key=st.sampled_from(ROLES),
    ),
)
COMMANDS = st.lists(COMMAND, max_size=6).map(lambda found: [Command("from", "x", 0), *found])
ENDS = st.sampled_from(["\n", "\n\n", "\n# a comment\n", "\r\n", " \t\n"])


def rendered(command: Command, end: str) -> tuple[str, int]:
    """A command as text, and how many lines it takes."""
    words = [command.keyword.upper(), command.key, f'"""{command.args}"""']
    text = " ".join(word for word in words if word) + end
    return text, text.count("\n")


@given(COMMANDS, st.lists(ENDS, min_size=7, max_size=7))
def test_what_is_written_is_read(commands: list[Command], ends: list[str]) -> None:
    text, line, wanted = "", 1, []
    for command, end in zip(commands, ends, strict=False):
        wanted.append(Command(command.keyword, command.args, line, command.key))
        more, lines = rendered(command, end)
        text, line = text + more, line + lines
    assert list(parse(text.encode())) == wanted


@given(st.sampled_from(BYTE_ORDER_MARKS), st.binary(max_size=200))
def test_any_bytes_give_a_modelfile_or_one_kind_of_error(mark: bytes, data: bytes) -> None:
    check(mark + data)


@given(st.lists(st.sampled_from(PIECES), max_size=30).map("".join))
def test_any_words_give_a_modelfile_or_one_kind_of_error(text: str) -> None:
    check(f"FROM x\n{text}".encode())


def check(data: bytes) -> None:
    lines = data.count(b"\n") + data.count(b"\r") + 1
    for fault in faults_of(data):
        assert 1 <= fault.line <= lines
        assert fault.what
        assert "\n" not in fault.what + fault.hint


def faults_of(data: bytes) -> tuple[Fault, ...]:
    try:
        assert isinstance(read_modelfile(data), Modelfile)
    except ModelfileError as error:
        return error.faults or (Fault(0, "", ""),)
    return ()
