"""Checks of a spec that no single key can make: between keys, and between models.

Owns reading plain data into a Spec and finding every problem at once, also in the models beside one
that is wrong. A base that the file does not name is fine: it may be any installed model. Opens no
file and knows no line: places are paths of keys.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass

from pydantic import ValidationError

from paddock.core.names import Name
from paddock.core.spec import VERSION, DiscoverSpec, ModelSpec, Spec
from paddock.core.spec_merge import merge
from paddock.core.spec_problems import SOURCE_FORMS, Loc, Problem, missing, problems_of
from paddock.core.spec_residency_check import window_problems
from paddock.core.spec_sources import FileSpec, GgufSource, ModelSource

_ABSENT_MAY_HAVE = frozenset({"state", "labels", "suspend"})


@dataclass(frozen=True, slots=True)
class Checked:
    """What data says, as far as it is valid (`spec`), and every problem of its keys and values."""

    spec: Spec
    problems: tuple[Problem, ...]


def read_spec(data: object) -> Checked:
    """Reads plain data of one file. With problems, `spec` holds the parts that have none."""
    try:
        return Checked(Spec.model_validate(data), ())
    except ValidationError as error:
        problems = tuple(problems_of(error))
        return Checked(_salvage(data, problems), problems)


def cross_check(spec: Spec) -> list[Problem]:
    """Returns the problems between keys of a model, of `defaults`, and between models."""
    problems = list(_default_problems(spec))
    for name, model in spec.models.items():
        problems.extend(_model_problems(("models", name), model, spec))
    problems.extend(_same_names(spec))
    problems.extend(_base_problems(spec))
    return problems


def discover_problems(loc: Loc, entry: DiscoverSpec) -> Iterator[Problem]:
    """Yields the problems between the keys of one entry of `discover`, which is at `loc`."""
    if entry.path is None and entry.layout == "directory":
        yield missing((*loc, "path"), "path: FOLDER")
    if entry.template is not None and entry.template_file is not None:
        yield _two_templates(loc)
    if entry.preload and entry.keep_alive is not None and entry.keep_alive.is_unload:
        yield _preload_of_nothing(loc, "preload: true")
    yield from window_problems(loc, entry)


def _salvage(data: object, problems: tuple[Problem, ...]) -> Spec:
    """Returns the keys in which no problem was found, so that the other checks can go on."""
    if not isinstance(data, Mapping):
        return Spec(version=VERSION)
    bad = {problem.loc[:length] for problem in problems for length in (1, 2, 3)}
    broken = {problem.loc for problem in problems}
    models = data.get("models", {}) if ("models",) not in broken else {}
    defaults = data.get("defaults", {}) if ("defaults",) not in broken else {}
    good: dict[str, object] = {
        name: _without(model, ("models", name), bad)
        for name, model in models.items()
        if ("models", name) not in broken and ("models", name, "state") not in bad
    }
    kept = _without(defaults, ("defaults",), bad)
    return Spec.model_validate({"version": VERSION, "defaults": kept, "models": good})


def _without(values: Mapping[str, object], loc: Loc, bad: set[Loc]) -> dict[str, object]:
    return {key: value for key, value in values.items() if (*loc, key) not in bad}


def _default_problems(spec: Spec) -> Iterator[Problem]:
    defaults = spec.defaults
    if defaults.template is not None and defaults.template_file is not None:
        yield _two_templates(("defaults",))
    if defaults.preload and defaults.keep_alive is not None and defaults.keep_alive.is_unload:
        yield _preload_of_nothing(("defaults",), "preload: true")
    yield from window_problems(("defaults",), defaults)


def _model_problems(loc: tuple[str, ...], model: ModelSpec, spec: Spec) -> Iterator[Problem]:
    if model.state == "absent":
        yield from _absent_problems(loc, model)
        return
    if model.source is None:
        yield missing((*loc, "source"), f"source: {SOURCE_FORMS}, or state: absent")
    if isinstance(model.source, GgufSource):
        yield from _file_problems((*loc, "source"), model.source)
    if model.template is not None and model.template_file is not None:
        yield _two_templates(loc)
    yield from window_problems(loc, model)
    if model.keep_alive is not None and model.keep_alive.is_unload:
        if model.preload:
            yield _preload_of_nothing(loc, "preload: true")
        elif merge(model, spec.defaults).spec.preload:
            yield _preload_of_nothing(loc, "the default preload: true", "write preload: false too")


def _file_problems(loc: Loc, source: GgufSource) -> Iterator[Problem]:
    """One thing said twice, or one file named for two parts of the model."""
    for key in ("sha256", "trust"):
        if getattr(source, key) is not None and getattr(source.gguf, key) is not None:
            yield Problem((*loc, key), f"{key} of the file is given in gguf too", "keep one")
    seen = {source.gguf.path: "gguf"}
    for where, file in _beside(source):
        first = seen.setdefault(file.path, where)
        if first != where:
            what = f'"{file.path}" is named by {first} too'
            yield Problem((*loc, *_keys(where)), what, "name another file")


def _keys(where: str) -> Loc:
    return tuple(int(part) if part.isdecimal() else part for part in where.split("."))


def _beside(source: GgufSource) -> Iterator[tuple[str, FileSpec]]:
    if source.projector is not None:
        yield "projector", source.projector
    for number, file in enumerate(source.adapters):
        yield f"adapters.{number}", file
    if source.draft is not None:
        yield "draft", source.draft


def _absent_problems(loc: tuple[str, ...], model: ModelSpec) -> Iterator[Problem]:
    for key in model.model_fields_set - _ABSENT_MAY_HAVE:
        what = "means nothing beside state: absent"
        yield Problem((*loc, key), what, "remove one of the two", at_key=True)


def _two_templates(loc: Loc) -> Problem:
    what = "template and template_file both give the template"
    return Problem((*loc, "template_file"), what, "keep one", at_key=True)


def _preload_of_nothing(
    loc: Loc, preload: str, hint: str = "write forever or a time, or remove preload"
) -> Problem:
    what = f"0 unloads the model that {preload} loads"
    return Problem((*loc, "keep_alive"), what, hint)


def _same_names(spec: Spec) -> Iterator[Problem]:
    """Ollama finds names whatever their case, and `:latest` may be left out."""
    seen: dict[Name, str] = {}
    for text in spec.models:
        first = seen.setdefault(Name.parse(text).folded, text)
        if first != text:
            what = f'names the same model as "{first}" at {{see}}'
            yield Problem(("models", text), what, "keep one", at_key=True, see=("models", first))


def _base_problems(spec: Spec) -> Iterator[Problem]:
    names = {Name.parse(text).folded: text for text in spec.models}
    bases = {
        text: names.get(Name.parse(model.source.model).folded)
        for text, model in spec.models.items()
        if isinstance(model.source, ModelSource)
    }
    for text, base in bases.items():
        loc = ("models", text, "source", "model")
        if base is not None and spec.models[base].state == "absent":
            what = f'"{base}" is declared absent at {{see}}'
            yield Problem(loc, what, "choose another base", see=("models", base, "state"))
    yield from _cycles(bases)


def _cycles(bases: Mapping[str, str | None]) -> Iterator[Problem]:
    """Reports each cycle once, on the first of its models in the file."""
    done: set[str] = set()
    for start in bases:
        trail: list[str] = []
        name: str | None = start
        while name is not None and name not in done and name not in trail:
            trail.append(name)
            name = bases.get(name)
        if name is not None and name in trail:
            yield _cycle(trail[trail.index(name) :])
        done.update(trail)


def _cycle(cycle: list[str]) -> Problem:
    loc = ("models", cycle[0], "source", "model")
    if len(cycle) == 1:
        return Problem(loc, "the model is its own base", "name another model, or give a gguf")
    what = f"the models are based on each other in a circle: {' -> '.join([*cycle, cycle[0]])}"
    return Problem(loc, what, "give one of them a gguf or a registry source")
