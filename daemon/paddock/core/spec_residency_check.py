"""Checks of what a spec says of memory: nonsense between keys, and what is hardly meant.

Owns problems of windows, and the warnings: what is valid and does something else than it seems to.
Pure; places are paths of keys. Two paths that hold the same bytes are known to be one GGUF only
once they were hashed: the plan tells of those.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

from paddock.core.desired import Window
from paddock.core.keep_alive import KeepAlive
from paddock.core.names import Name
from paddock.core.policy import overlapping
from paddock.core.spec import Defaults, ModelSpec, Spec
from paddock.core.spec_merge import MergedModel, merge
from paddock.core.spec_problems import Loc, Problem
from paddock.core.spec_residency import WindowSpec
from paddock.core.spec_sources import (
    GgufSource,
    HuggingfaceSource,
    ModelfileSource,
    ModelSource,
    RegistrySource,
    Source,
)

# A runner that was started with others of these is started anew for the request
# (ollama:server/sched.go needsReload).
RUNNER_OPTIONS = (
    "num_ctx",
    "num_batch",
    "num_gpu",
    "main_gpu",
    "use_mmap",
    "num_thread",
    "draft_num_predict",
)
_FILES = ("projector", "adapters", "draft")


def window_problems(loc: Loc, settings: Defaults) -> Iterator[Problem]:
    """Yields what is nonsense in the windows of a model, of `defaults` or of an entry at `loc`."""
    for number, window in enumerate(settings.schedule or ()):
        at = (*loc, "schedule", number)
        if window.start == window.end and not _is_whole_day(window):
            what = "the window closes when it opens"
            yield Problem((*at, "to"), what, 'write another time, or from "00:00" to "24:00"')
        if window.preload is None and window.keep_alive is None:
            yield Problem(at, "says nothing about memory", "write preload or keep_alive")
        yield from _nothing_preloaded(at, window, settings)


def _is_whole_day(window: WindowSpec) -> bool:
    return window.start.hour == window.start.minute == 0 and "end" in window.model_fields_set


def _nothing_preloaded(loc: Loc, window: WindowSpec, settings: Defaults) -> Iterator[Problem]:
    given = window.keep_alive if window.keep_alive is not None else settings.keep_alive
    preloads = settings.preload if window.preload is None else window.preload
    if not preloads or given is None or not given.is_unload:
        return
    if window.keep_alive is None and window.preload is None:
        return  # the model's own preload and keep_alive, of which something is said there
    key = "keep_alive" if window.keep_alive is not None else "preload"
    what = "0 unloads the model that preload: true loads"
    yield Problem((*loc, key), what, "write forever or a time, or preload: false")


def doubts(spec: Spec) -> Iterator[Problem]:
    """Yields a warning for each thing that is valid and hardly meant."""
    for name, model in spec.models.items():
        yield from _overlaps(("models", name), model)
    yield from _overlaps(("defaults",), spec.defaults)
    for number, entry in enumerate(spec.discover):
        yield from _overlaps(("discover", number), entry)
    yield from _shared(spec)


def _overlaps(loc: Loc, settings: Defaults) -> Iterator[Problem]:
    windows = [Window(w.days, w.start, w.end) for w in settings.schedule or ()]
    for early, late in overlapping(windows):
        what = f"overlaps with window {early + 1} at {{see}}, which holds while both are open"
        see = (*loc, "schedule", early)
        yield Problem((*loc, "schedule", late), what, "keep them apart, or leave it so", see=see)


@dataclass(frozen=True, slots=True)
class _User:
    """A name that runs a GGUF: what its runner is started with, and how long it stays."""

    name: str
    options: Mapping[str, object]
    files: Mapping[str, object]
    model: MergedModel


def _shared(spec: Spec) -> Iterator[Problem]:
    by_name = {Name.parse(text).folded: text for text in spec.models}
    users: defaultdict[object, list[str]] = defaultdict(list)
    for name in spec.models:
        key = _gguf_of(name, spec, by_name)
        if key is not None:
            users[key].append(name)
    for first, *others in users.values():
        for other in others:
            yield from _differences(_user(first, spec), _user(other, spec))


def _user(name: str, spec: Spec) -> _User:
    model = merge(spec.models[name], spec.defaults)
    parameters = model.spec.parameters
    given = {} if parameters is None else dict(parameters.options())
    options = {key: given.get(key) for key in RUNNER_OPTIONS}
    return _User(name, options, _files(model.spec.source), model)


def _files(source: Source | None) -> Mapping[str, object]:
    match source:
        case GgufSource():
            return {key: getattr(source, key) for key in _FILES}
        case HuggingfaceSource(projector=projector):
            return {"projector": projector}
        case _:
            return {}


def _differences(first: _User, other: _User) -> Iterator[Problem]:
    """One warning a pair and matter: the two share a runner."""
    loc = ("models", other.name)
    see = ("models", first.name)
    differing = [key for key in RUNNER_OPTIONS if first.options[key] != other.options[key]]
    if first.files and other.files:
        differing += [key for key in first.files if first.files[key] != other.files[key]]
    if differing:
        what = f'shares its GGUF with "{first.name}" at {{see}}, with another {_words(differing)}'
        hint = "Ollama reloads it whenever the two take turns: give both the same"
        yield Problem(loc, what, hint, at_key=True, see=see)
    if _policy(first.model) != _policy(other.model):
        what = f'shares its runner with "{first.name}" at {{see}}, with another keep_alive'
        hint = "one runner has one: give both the same, or leave it to one of them"
        yield Problem(loc, what, hint, at_key=True, see=see)


def _words(keys: Sequence[str]) -> str:
    return keys[0] if len(keys) == 1 else f"{', '.join(keys[:-1])} and {keys[-1]}"


def _policy(model: MergedModel) -> tuple[bool, KeepAlive | None]:
    return bool(model.spec.preload), model.spec.keep_alive


def _gguf_of(name: str, spec: Spec, by_name: Mapping[Name, str]) -> object:
    """What tells the GGUF of a model, as far as the file says it; None: unknown."""
    seen: set[str] = set()
    text: str | None = name
    while text is not None and text not in seen:
        seen.add(text)
        model: ModelSpec = spec.models[text]
        if model.state == "absent":
            return None
        if not isinstance(model.source, ModelSource):
            return _key(model.source)
        base = Name.parse(model.source.model).folded
        text = by_name.get(base)
        if text is None:
            return base
    return None


def _key(source: Source | None) -> object:
    match source:
        case GgufSource(gguf=file):
            return file.sha256 or source.sha256 or file.path
        case RegistrySource(registry=reference):
            return Name.parse(reference).folded
        case HuggingfaceSource(huggingface=repo, revision=revision, file=file):
            return repo, revision, file
        case ModelSource() | ModelfileSource() | None:
            return None
