"""What a Modelfile is made of: files on this host, or a model.

Owns the order in which Ollama asks (`ollama:parser/parser.go` CreateRequest): what is on disk comes
first, a name after it. Text that can only be a file stays one while the file is away, so that a
disk that is not mounted never turns into a pull. Looks whether a path exists; opens nothing.
"""

from __future__ import annotations

import json
import os
from collections.abc import Callable, Iterable, Sequence
from functools import partial
from pathlib import Path

from pydantic import ValidationError

from paddock.core.modelfile import NOT_YET, Modelfile, Reference
from paddock.core.modelfile_syntax import Fault, ModelfileError
from paddock.core.names import Name
from paddock.core.spec_problems import problems_of
from paddock.core.spec_sources import FileSpec, GgufSource, ModelSource, RegistrySource
from paddock.edges.specfile.files import absolute

_PATH_STARTS = ("/", "./", "../", "~", "\\")
_PATTERN = frozenset("*?[\\")  # Ollama expands them (Go's filepath.Glob)
_SHOWN_CHARS = 120


def source_of(
    modelfile: Modelfile, folder: Path, *, home: Path, declared: Iterable[str]
) -> GgufSource | ModelSource | RegistrySource:
    """Returns what a Modelfile is made of as a source of models.yaml: files, a model that is
    declared there, or one that is installed already or pulled. Raises ModelfileError.

    `folder` is the Modelfile's; `declared` are the other models of models.yaml.
    """
    first, *more = _model_first(modelfile.bases)
    path = absolute(first.text, folder, home)
    if _can_only_be_a_file(first.text) or os.path.lexists(path):
        return _of_files(modelfile, [first, *more], partial(absolute, base_dir=folder, home=home))
    beside = [*more, *filter(None, (modelfile.adapter, modelfile.draft))]
    if beside:
        what = f"a file beside a model, {_shown(beside[0].text)}, is {NOT_YET}"
        raise ModelfileError(Fault(beside[0].line, what, "name the model's GGUF file in FROM"))
    return _of_model(first, declared)


def _of_model(base: Reference, declared: Iterable[str]) -> ModelSource | RegistrySource:
    try:
        source = RegistrySource(registry=base.text)
    except ValidationError as error:
        [problem] = problems_of(error)
        what = f"FROM is neither a file nor a model: {problem.what}"
        raise ModelfileError(Fault(base.line, what, problem.hint)) from error
    names = {Name.parse(other).folded: other for other in declared}
    known = names.get(Name.parse(base.text).folded)
    return source if known is None else ModelSource(model=known)


def _model_first(bases: Sequence[Reference]) -> Sequence[Reference]:
    """The FROM lines may stand in any order; a projector is known by its name, as for everybody
    who downloads one. What it really is, its header tells later."""
    return sorted(bases, key=lambda base: "mmproj" in os.path.basename(base.text).lower())  # noqa: PTH119


def _of_files(
    modelfile: Modelfile, bases: Sequence[Reference], path_of: Callable[[str], Path]
) -> GgufSource:
    model, *more = bases
    if len(more) > 1:
        what = f"a third FROM is {NOT_YET}"
        hint = "name the model (of a split one the first part), and its projector"
        raise ModelfileError(Fault(more[1].line, what, hint))

    def file(command: str, named: Reference) -> FileSpec:
        return _file(command, named, path_of(named.text))

    adapter, draft = modelfile.adapter, modelfile.draft
    return GgufSource(
        gguf=file("FROM", model),
        projector=file("FROM", more[0]) if more else None,
        adapters=() if adapter is None else (file("ADAPTER", adapter),),
        draft=None if draft is None else file("DRAFT", draft),
    )


def _can_only_be_a_file(text: str) -> bool:
    if text.startswith(_PATH_STARTS) or text in {".", ".."}:
        return True
    return text.lower().endswith((".gguf", ".safetensors")) and ":" not in text


def _file(command: str, named: Reference, path: Path) -> FileSpec:
    text, line, shown = named.text, named.line, _shown(named.text)
    if os.path.isdir(path):  # noqa: PTH112 -- never raises, whatever the path
        hint = "name a GGUF file in it, or add a tag such as :latest to mean a model"
        raise ModelfileError(Fault(line, f"{command} a folder, {shown}, is {NOT_YET}", hint))
    if text.lower().endswith(".safetensors"):
        hint = "convert it to GGUF, and name that"
        raise ModelfileError(Fault(line, f"{command} safetensors, {shown}, is {NOT_YET}", hint))
    if _PATTERN & set(text):
        what = f"a pattern in {command} {shown} is {NOT_YET}"
        raise ModelfileError(Fault(line, what, "name the file"))
    try:
        FileSpec(path=text)
    except ValidationError as error:
        [problem] = problems_of(error)
        what = f"{command} {shown} {problem.what}"
        raise ModelfileError(Fault(line, what, problem.hint)) from error
    return FileSpec(path=str(path))


def _shown(text: str) -> str:
    return json.dumps(text[:_SHOWN_CHARS], ensure_ascii=False)
