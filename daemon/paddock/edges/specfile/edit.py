"""Adding models to models.yaml: text appended to its `models:`, every byte that is there kept.

Owns finding the place by the parser's own marks, and replacing the file in one step with its mode
and owner kept. The whole spec is read again with the new bytes before they take the old one's
place. What cannot be done that way is refused, with the text for a person to paste.
"""

from __future__ import annotations

import os
import re
import secrets
import stat
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, assert_never

from paddock.core.spec_text import models_text, spec_text
from paddock.edges.specfile.files import MAX_SPEC_BYTES, FileProblem, read_regular
from paddock.edges.specfile.insertion import Block, Braces, place_of_models
from paddock.edges.specfile.load import load_spec
from paddock.edges.specfile.syntax import decode
from paddock.errors import PaddockError, Retry, SpecError

NEW_FILE = "adopted.yaml"
_INDENT = 2
_NEW_MODE = 0o644
_ANY_WRITE = 0o222
_BOM = b"\xef\xbb\xbf"
_LINE = re.compile(r"[^\r\n]*(?:\r\n|\r|\n)|[^\r\n]+")


class EditRefused(PaddockError):
    """The file cannot be added to; `text` is what a person may paste below `models:`."""

    reason = "FileNotWritable"
    retry = Retry.STALLED

    def __init__(self, message: str, *, text: str):
        super().__init__(message)
        self.text = text


@dataclass(frozen=True, slots=True)
class Edit:
    """New bytes for a file, checked. `path` is where it was named, `real` has no link on the way;
    `before` None: there is no such file yet. `text` is what was added."""

    path: Path
    real: Path
    before: bytes | None
    after: bytes
    text: str

    def write(self) -> None:
        """Puts the new bytes in place in one step. Raises EditRefused, with nothing changed."""
        is_new = self.before is None
        try:
            found = None if is_new and not self.real.exists() else self.real.read_bytes()
            if found != self.before:
                what = f"{self.path} was changed by somebody else just now"
                raise EditRefused(f"{what}; try again", text=self.text)
            _replace(self.real, self.after, is_new=is_new)
        except OSError as error:
            what = f"{self.path} cannot be written: {(error.strerror or str(error)).lower()}"
            raise EditRefused(what, text=self.text) from error


def append_models(
    path: Path, models: Mapping[str, Mapping[str, Any]], env: Mapping[str, str]
) -> Edit:
    """Plans to add models to a file, or to a folder of files as one of its own. Writes nothing.

    Raises SpecError where the spec is invalid as it is, EditRefused where it cannot be added to.
    """
    found = load_spec(path, env).spec
    edit = _planned(path, models)
    try:
        loaded = load_spec(path, env, instead={edit.path: edit.after})
    except SpecError as error:
        what = f"{edit.path} would be invalid with them: {error.message.splitlines()[0]}"
        raise EditRefused(f"{what}; add them by hand", text=models_text(models)) from error
    kept = {name: model for name, model in loaded.spec.models.items() if name not in models}
    if kept != found.models or not models.keys() <= loaded.spec.models.keys():
        what = f"{edit.path} is written in a way that text cannot be added to"
        raise EditRefused(f"{what}; add the models by hand", text=models_text(models))
    return edit


def _planned(path: Path, models: Mapping[str, Mapping[str, Any]]) -> Edit:
    file = path / NEW_FILE if path.is_dir() else path
    if path.is_dir() and not file.exists():
        content = spec_text(models).encode()
        edit = Edit(file, path.resolve() / NEW_FILE, None, content, models_text(models))
    else:
        edit = _with(file, models)
    _check_writable(edit)
    return edit


def _with(file: Path, models: Mapping[str, Mapping[str, Any]]) -> Edit:
    try:
        real = file.resolve(strict=True)
        before = read_regular(real, MAX_SPEC_BYTES)
    except (OSError, FileProblem) as error:
        raise EditRefused(f"{file} cannot be read: {error}", text=models_text(models)) from error
    text = _inserted(decode(before), models)
    if text is None:
        what = f"{file} does not hold models: as a block of lines"
        raise EditRefused(f"{what}; add the models by hand", text=models_text(models))
    bom = _BOM if before.startswith(_BOM) else b""
    return Edit(file, real, before, bom + text.encode(), models_text(models))


def _inserted(text: str, models: Mapping[str, Mapping[str, Any]]) -> str | None:
    """The text with the models in it; None where there is no place for lines."""
    place = place_of_models(text)
    lines = _LINE.findall(text)
    newline = "\r\n" if lines and lines[0].endswith("\r\n") else "\n"
    match place:
        case Block(indent, start, end):
            at = _past_comments(lines, end, indent)
            spaced = _is_spaced(lines[start:at], indent)
            added = _entries(models, indent, spaced=spaced)
            if spaced and lines[at - 1].strip() and (at > end or not _keeps_breaks(lines, place)):
                added = "\n" + added
        case Braces():
            line, at = lines[place.line], place.line + 1
            if line[place.start : place.end].strip("{} \t"):
                return None
            lines[place.line] = line[: place.start].rstrip(" \t") + line[place.end :]
            added, spaced = _entries(models, _INDENT, spaced=True), True
        case None:
            return None
        case _:
            assert_never(place)
    if spaced and at < len(lines) and lines[at].strip():
        added += "\n"
    head = "".join(lines[:at])
    ended = head.endswith(("\n", "\r"))
    return f"{head}{'' if ended else newline}{added.replace(chr(10), newline)}{''.join(lines[at:])}"


def _keeps_breaks(lines: list[str], place: Block) -> bool:
    """Whether the last value is a text to which an empty line below it would belong."""
    if place.text is None:
        return False
    line, column = place.text
    return "+" in lines[line][column:].partition("#")[0]


def _is_spaced(lines: list[str], indent: int) -> bool:
    """Whether empty lines stand between the entries; as in our examples, where there is but one."""
    keys = [line for line in lines if line[:indent].isspace() and line[indent : indent + 1].strip()]
    return len(keys) < 2 or any(not line.strip() for line in lines)


def _entries(models: Mapping[str, Mapping[str, Any]], indent: int, *, spaced: bool) -> str:
    texts = [models_text({name: model}, indent=indent) for name, model in models.items()]
    return ("\n" if spaced else "").join(texts)


def _past_comments(lines: list[str], at: int, indent: int) -> int:
    """Comments as deep as the entries, or deeper, belong to the last of them."""
    for number in range(at, len(lines)):
        text = lines[number].strip()
        is_deep = len(lines[number]) - len(lines[number].lstrip(" ")) >= indent
        if text.startswith("#") and is_deep:
            at = number + 1
        elif text:
            break
    return at


def _check_writable(edit: Edit) -> None:
    """Whether the file may be replaced. One that nobody may write is meant to be left alone, by
    root too."""
    text = edit.text
    if not os.access(edit.real.parent, os.W_OK):
        raise EditRefused(f"{edit.real.parent} may not be written by this user", text=text)
    if edit.before is not None:
        is_writable = edit.real.stat().st_mode & _ANY_WRITE and os.access(edit.real, os.W_OK)
        if not is_writable:
            raise EditRefused(f"{edit.path} is read-only", text=text)


def _replace(path: Path, content: bytes, *, is_new: bool) -> None:
    """Puts content in the place of a file in one step, as its owner and mode were."""
    owner = path.parent.stat() if is_new else path.stat()
    temp = path.with_name(f".{path.name}.{secrets.token_hex(4)}")
    try:
        with temp.open("xb") as file:
            if (owner.st_uid, owner.st_gid) != (os.geteuid(), os.getegid()):
                _give(file.fileno(), owner, is_needed=not is_new)
            os.fchmod(file.fileno(), _NEW_MODE if is_new else stat.S_IMODE(owner.st_mode))
            file.write(content)
            file.flush()
            os.fsync(file.fileno())
        temp.replace(path)
    except BaseException:
        temp.unlink(missing_ok=True)
        raise
    _sync_dir(path.parent)


def _give(descriptor: int, owner: os.stat_result, *, is_needed: bool) -> None:
    try:
        os.fchown(descriptor, owner.st_uid, owner.st_gid)
    except PermissionError:
        if is_needed:
            raise


def _sync_dir(folder: Path) -> None:
    descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
