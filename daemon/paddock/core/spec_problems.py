"""Problems of a spec: what is wrong, in plain words, and where in the tree of keys.

Owns the translation of pydantic's errors into short sentences, and "did you mean". A place is a
path of keys; `edges/specfile` turns it into file, line and column. Decides nothing: what is right
or wrong is for `core/spec.py` and `core/spec_check.py`.
"""

from __future__ import annotations

import difflib
import json
import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any, TypeAlias

from pydantic import BaseModel, ValidationError
from pydantic_core import ErrorDetails

from paddock.core.parameters import OBSOLETE, Parameters
from paddock.core.spec import (
    AccessSpec,
    Defaults,
    DiscoverSpec,
    Message,
    ModelSpec,
    PruneSpec,
    Spec,
)
from paddock.core.spec_hints import mapping_hint, near_hint, quote_hint, unquote_hint
from paddock.core.spec_publish import PublishSpec
from paddock.core.spec_residency import ResidencySpec, WindowSpec
from paddock.core.spec_sources import (
    SOURCE_ERROR,
    SOURCE_KEYS,
    FileSpec,
    GgufSource,
    HuggingfaceSource,
    ModelfileSource,
    ModelSource,
    RegistrySource,
)

Loc: TypeAlias = tuple[str | int, ...]

_SOURCES: Mapping[str, type[BaseModel]] = {
    "gguf": GgufSource,
    "registry": RegistrySource,
    "model": ModelSource,
    "modelfile": ModelfileSource,
    "huggingface": HuggingfaceSource,
}
_ENTRIES: Mapping[str, type[BaseModel]] = {
    "discover": DiscoverSpec,
    "publish": PublishSpec,
    "prune": PruneSpec,
    "residency": ResidencySpec,
}
_PARTS: Mapping[str, type[BaseModel]] = {"access": AccessSpec, "parameters": Parameters}
SOURCE_FORMS = (
    "{gguf: PATH}, {registry: NAME}, {model: NAME}, {modelfile: PATH} "
    "or {huggingface: ORG/REPO, file: GLOB}"
)
_WANTED = {
    "string_type": "text",
    "int_type": "a whole number",
    "float_type": "a number",
    "bool_type": "true or false",
    "model_type": "a mapping",
    "dict_type": "a mapping",
}
_LISTS = {
    "messages": "a list of messages",
    "discover": "a list of folders",
    "publish": "a list of folders",
    "users": "a list of users",
    "groups": "a list of groups",
    "adapters": "a list of files",
    "schedule": "a list of windows",
}
_EXAMPLES = {"version": "version: 1", "from": 'from: "08:00"', "to": 'to: "19:00"'}
_PLAIN_PART = re.compile(r"[A-Za-z0-9_.:/@+-]+")
_SHOWN_CHARS = 100


@dataclass(frozen=True, slots=True)
class Problem:
    """One thing that is wrong. `{see}` in `what` stands for the place of `see`.

    With `missing`, `loc` ends in a key that is not there.
    """

    loc: Loc
    what: str
    hint: str = ""
    at_key: bool = False
    missing: bool = False
    see: Loc | None = None


def where(loc: Loc) -> str:
    """Returns a path of keys as people read it: `models.smollm2.messages[0].role`."""
    return "".join(
        f"[{part}]" if isinstance(part, int) else f".{_shown(part)}" for part in loc
    ).removeprefix(".")


def problems_of(error: ValidationError) -> list[Problem]:
    """Returns each of pydantic's errors in plain words."""
    found: list[Problem] = []
    for item in error.errors(include_url=False):
        found.extend(_translate(item))
    return found


def suggest(word: object, allowed: Iterable[str]) -> str:
    """Returns `did you mean "x"?` for the nearest allowed word, or all that are allowed."""
    names = sorted(allowed)
    near = difflib.get_close_matches(str(word).lower(), names, n=1)
    return f'did you mean "{near[0]}"?' if near else f"allowed here: {', '.join(names)}"


def is_near(word: object, others: Iterable[str]) -> bool:
    """Tells whether one of the other words could be `word` misspelt."""
    return bool(difflib.get_close_matches(str(word), list(others), n=1))


def sentence(loc: Loc, text: str) -> Problem:
    """Returns a problem from one sentence of the form `what; what to do`."""
    what, _, hint = text.partition("; ")
    return Problem(loc, what, hint)


def missing(loc: Loc, example: str) -> Problem:
    """Returns the problem that the key at the end of `loc` is not there."""
    return Problem(loc, "is missing", f"write {example}", at_key=True, missing=True)


def _translate(item: ErrorDetails) -> list[Problem]:
    loc, tag = _plain_loc(item["loc"])
    match item["type"]:
        case "extra_forbidden":
            return [_unknown_key(loc, _model_at(loc[:-1], tag))]
        case t if t == SOURCE_ERROR:
            return _source_problems(loc, item["input"])
        case "missing":
            return [missing(loc, _EXAMPLES.get(str(loc[-1]), f"{loc[-1]}: TEXT"))]
        case "value_error":
            return [_value_error(loc, str(item["ctx"]["error"]))]
        case _:
            return [_bad_value(loc, item)]


def _plain_loc(loc: Loc) -> tuple[Loc, str]:
    """Takes out the mark of the union's branch, and returns it beside the path."""
    match loc:
        case ("models", _, "source", str(mark), *_):
            return (*loc[:3], *loc[4:]), mark.strip("<>")
        case _:
            return loc, ""


def _value_error(loc: Loc, text: str) -> Problem:
    if loc[-1] != "[key]":
        return sentence(loc, text)
    found = sentence(loc[:-1], text)
    return Problem(found.loc, found.what, found.hint, at_key=True)


def _model_at(loc: Loc, tag: str) -> type[BaseModel]:
    """Says which model a mapping at `loc` was read as."""
    match loc:
        case () | ("defaults",):
            return Defaults if loc else Spec
        case ("defaults", str(key)) | ("models" | "discover", _, str(key)) if key in _PARTS:
            return _PARTS[key]
        case (*_, "messages" | "schedule" as key, int()):
            return Message if key == "messages" else WindowSpec
        case ("discover" | "publish" as key, _) | ("prune" | "residency" as key,):
            return _ENTRIES[key]
        case ("models", _, "source", *inner):
            return FileSpec if inner else _SOURCES[tag]
        case _:
            return ModelSpec


def _unknown_key(loc: Loc, model: type[BaseModel]) -> Problem:
    key = str(loc[-1])
    if model is Parameters and key in OBSOLETE:
        return Problem(loc, "Ollama no longer has this option", "remove it", at_key=True)
    if model is Defaults and key in {"source", "state"}:
        return Problem(loc, "cannot be a default", "write it on each model", at_key=True)
    what = "unknown option of Ollama" if model is Parameters else "unknown key"
    return Problem(loc, what, suggest(key, _keys(model)), at_key=True)


def _keys(model: type[BaseModel]) -> list[str]:
    return [field.alias or name for name, field in model.model_fields.items()]


def _source_problems(loc: Loc, value: Any) -> list[Problem]:
    """Says why a source is none: no mapping, two sources, a misspelt key, or none at all."""
    if not isinstance(value, Mapping):
        return [Problem(loc, f"must be a mapping, not {kind(value)}", f"write {SOURCE_FORMS}")]
    given = [key for key in value if key in SOURCE_KEYS]
    if given:
        what = f"{' and '.join(given)} are given, but a model has one source"
        return [Problem(loc, what, "keep one")]
    known = {name for source in _SOURCES.values() for name in source.model_fields}
    near = [key for key in value if key not in known and is_near(str(key).lower(), SOURCE_KEYS)]
    if near:
        return [_misspelt((*loc, key)) for key in near]
    return [Problem(loc, "does not say where the model comes from", f"write {SOURCE_FORMS}")]


def _misspelt(loc: Loc) -> Problem:
    return Problem(loc, "unknown key", suggest(loc[-1], SOURCE_KEYS), at_key=True)


def _bad_value(loc: Loc, item: ErrorDetails) -> Problem:
    value, error_type = item["input"], item["type"]
    if error_type in _WANTED:
        what = f"must be {_WANTED[error_type]}, not {kind(value)}"
        return Problem(loc, what, _type_hint(loc, error_type, value))
    match error_type:
        case "tuple_type":
            wanted = _LISTS.get(str(loc[-1]), "text or a list of texts")
            what, hint = f"must be {wanted}, not {kind(value)}", ""
        case "literal_error":
            allowed = re.findall(r"'([^']*)'", item["ctx"]["expected"])
            what, hint = f"must be one of {', '.join(allowed)}", near_hint(value, allowed)
        case "string_too_short":
            what, hint = "must not be empty", "write a value, or remove it"
        case "greater_than_equal" | "less_than_equal" | "finite_number":
            what, hint = "is not a number that Ollama can hold", "write a smaller one"
        case _:
            what, hint = item["msg"][:1].lower() + item["msg"][1:], ""
    return Problem(loc, what, hint)


def _type_hint(loc: Loc, error_type: str, value: object) -> str:
    match error_type:
        case "string_type":
            return quote_hint(value)
        case "model_type" | "dict_type":
            return mapping_hint(loc)
        case _:
            return unquote_hint(value)


def kind(value: object) -> str:
    """Says in a word or two what a value of the file is."""
    match value:
        case None:
            return "empty"
        case bool():
            return json.dumps(value)
        case int() | float():
            return f"the number {value}"
        case str():
            return "text"
        case list() | tuple():
            return "a list"
        case _:
            return "a mapping"


def _shown(part: str) -> str:
    return part if _PLAIN_PART.fullmatch(part) else json.dumps(part[:_SHOWN_CHARS])
