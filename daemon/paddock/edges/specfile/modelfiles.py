"""FROM: what the base of a Modelfile is, a file on this host or a model.

Owns the order in which Ollama asks (`ollama:parser/parser.go` CreateRequest): what is on disk comes
first, a name after it. Text that can only be a file stays one while the file is away, so that a
disk that is not mounted never turns into a pull. Looks whether a path exists; opens nothing.
"""

from __future__ import annotations

import json
import os
from collections.abc import Iterable
from pathlib import Path

from pydantic import ValidationError

from paddock.core.modelfile import NOT_YET, Modelfile
from paddock.core.modelfile_syntax import Fault, ModelfileError
from paddock.core.names import Name
from paddock.core.spec import GgufSource, ModelSource, RegistrySource
from paddock.core.spec_problems import problems_of
from paddock.edges.specfile.files import absolute

_PATH_STARTS = ("/", "./", "../", "~", "\\")
_PATTERN = frozenset("*?[\\")  # Ollama expands them (Go's filepath.Glob)
_SHOWN_CHARS = 120


def base_source(
    modelfile: Modelfile, folder: Path, *, home: Path, declared: Iterable[str]
) -> GgufSource | ModelSource | RegistrySource:
    """Returns FROM as a source of models.yaml: a file, a model that is declared there, or one that
    is installed already or pulled. Raises ModelfileError.

    `folder` is the Modelfile's; `declared` are the other models of models.yaml.
    """
    text, line = modelfile.base, modelfile.base_line
    path = absolute(text, folder, home)
    if _can_only_be_a_file(text) or os.path.lexists(path):
        return _file(text, path, line)
    try:
        source = RegistrySource(registry=text)
    except ValidationError as error:
        [problem] = problems_of(error)
        what = f"FROM is neither a file nor a model: {problem.what}"
        raise ModelfileError(Fault(line, what, problem.hint)) from error
    names = {Name.parse(other).folded: other for other in declared}
    known = names.get(Name.parse(text).folded)
    return source if known is None else ModelSource(model=known)


def _can_only_be_a_file(text: str) -> bool:
    if text.startswith(_PATH_STARTS) or text in {".", ".."}:
        return True
    return text.lower().endswith((".gguf", ".safetensors")) and ":" not in text


def _file(text: str, path: Path, line: int) -> GgufSource:
    shown = json.dumps(text[:_SHOWN_CHARS], ensure_ascii=False)
    if os.path.isdir(path):  # noqa: PTH112 -- never raises, whatever the path
        hint = "name a GGUF file in it, or add a tag such as :latest to mean a model"
        raise ModelfileError(Fault(line, f"FROM a folder, {shown}, is {NOT_YET}", hint))
    if text.lower().endswith(".safetensors"):
        hint = "convert it to GGUF, and name that"
        raise ModelfileError(Fault(line, f"FROM safetensors, {shown}, is {NOT_YET}", hint))
    if _PATTERN & set(text):
        raise ModelfileError(
            Fault(line, f"a pattern in FROM {shown} is {NOT_YET}", "name the file")
        )
    try:
        GgufSource(gguf=text)
    except ValidationError as error:
        [problem] = problems_of(error)
        raise ModelfileError(Fault(line, f"FROM {shown} {problem.what}", problem.hint)) from error
    return GgufSource(gguf=str(path))
