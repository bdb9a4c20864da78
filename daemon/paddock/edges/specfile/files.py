"""Files: the bytes behind a spec.

Owns finding the files of a folder, opening only regular ones (a FIFO or a device would hang or
never end), the bounds on their size, and where a path that somebody wrote leads. Never writes.
"""

from __future__ import annotations

import os
import stat
from pathlib import Path

MAX_SPEC_BYTES = 8 * 1024 * 1024
MAX_TEMPLATE_BYTES = 1024 * 1024
MAX_MODELFILE_BYTES = 1024 * 1024


class FileProblem(Exception):
    """A file that cannot be used: `what` is wrong, and `hint` what to do."""

    def __init__(self, what: str, hint: str):
        super().__init__(what, hint)
        self.what = what
        self.hint = hint


def spec_files(path: Path) -> list[Path]:
    """Returns the files of a spec: the file itself, or a folder's *.yaml in name order.

    Hidden files are left out (editors and Kubernetes put them there). A .yml file is refused,
    since leaving it out would drop its models. Raises FileProblem.
    """
    try:
        if not path.is_dir():
            return [path]
        found = sorted(entry for entry in path.iterdir() if not entry.name.startswith("."))
    except OSError as error:
        raise _os_problem(error, "it") from error
    for entry in found:
        if entry.suffix == ".yml":
            raise FileProblem(f"{entry.name} would not be read", "let its name end in .yaml")
    files = [entry for entry in found if entry.suffix == ".yaml"]
    if not files:
        raise FileProblem("the folder holds no .yaml file", "write one, or name another folder")
    return files


def read_regular(path: Path, max_bytes: int) -> bytes:
    """Returns the bytes of a regular file, through links. Raises FileProblem."""
    try:
        descriptor = os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_NOCTTY | os.O_CLOEXEC)
        try:
            data = _read(descriptor, max_bytes + 1)
        finally:
            os.close(descriptor)
    except OSError as error:
        raise _os_problem(error, "the file") from error
    if len(data) > max_bytes:
        raise FileProblem(f"the file is larger than {max_bytes // 1024} KiB", "make it smaller")
    return data


def absolute(text: str, base_dir: Path, home: Path) -> Path:
    """Returns where a written path leads, with `..` and links left as they are."""
    if text == "~" or text.startswith("~/"):
        return home / text[2:]
    return base_dir / text


def _read(descriptor: int, max_bytes: int) -> bytes:
    _require_regular(os.fstat(descriptor).st_mode)
    with os.fdopen(descriptor, "rb", closefd=False) as file:
        return file.read(max_bytes)


def _require_regular(mode: int) -> None:
    if stat.S_ISDIR(mode):
        raise FileProblem("it is a folder, not a file", "name a file")
    if not stat.S_ISREG(mode):
        raise FileProblem("it is not a regular file", "name a file on disk")


def _os_problem(error: OSError, noun: str) -> FileProblem:
    match error:
        case FileNotFoundError() | NotADirectoryError():
            return FileProblem(f"{noun} does not exist", "create it, or name another")
        case PermissionError():
            return FileProblem(f"{noun} may not be read by this user", "allow it to be read")
        case _:
            reason = error.strerror or type(error).__name__
            return FileProblem(f"{noun} cannot be read: {reason.lower()}", "check the path")


def template_text(data: bytes) -> str:
    """The text of a template. Raises FileProblem."""
    try:
        text = data.decode("utf-8")
    except UnicodeDecodeError as error:
        raise FileProblem("the file is not UTF-8", "save it as UTF-8") from error
    if "\0" in text:
        raise FileProblem("the file holds a NUL character", "name a text file")
    return text
