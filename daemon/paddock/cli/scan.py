"""`scan`: models.yaml for the GGUFs that lie in folders, to be read and edited before it is used.

Looks at names, and at the header of each file; works without a daemon and without Ollama, and
writes nothing.
"""

from __future__ import annotations

import argparse
import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from paddock.cli import views
from paddock.cli.options import settings_of
from paddock.core.desired import Desired, DesiredModel, Discover, FromFile, State
from paddock.core.discover import Looked, Remembered, with_discovered
from paddock.core.discover_guess import guess_layout
from paddock.core.discover_kinds import without_others
from paddock.core.discover_names import NameTemplate
from paddock.core.discover_scan import Scan
from paddock.core.files import further_parts
from paddock.core.layouts import NAMES, Layout
from paddock.core.names import Name
from paddock.core.observed import Known, SourceFact, SourceFile, SourceMissing, Unknown
from paddock.core.spec import VERSION
from paddock.core.spec_text import list_text, spec_text
from paddock.edges import folders, sources
from paddock.errors import PaddockError, SettingsError, SourceError

Document = Mapping[str, Any]


@dataclass(frozen=True, slots=True)
class _Scanned:
    """What was found: the models and what was left out, and how each folder was read."""

    desired: Desired
    facts: Mapping[str, SourceFact]
    looks: Sequence[Looked]


def scan(options: argparse.Namespace) -> int:
    """Print models.yaml, or entries of discover, for the GGUFs below each folder."""
    looks = [_look(os.path.abspath(folder), options) for folder in options.folders]  # noqa: PTH100
    found = _scanned(looks, os.path.realpath(settings_of(options).models_path))
    document = _document(found, as_discover=options.discover)
    text = _discover_text(document) if options.discover else _models_text(document)
    views.show(document, text.removesuffix("\n"), options.output, is_file=True)
    return 0


def _look(folder: str, options: argparse.Namespace) -> Looked:
    layout: Layout = options.layout or guess_layout(folder, _all_of(folder, "directory"))
    text = options.name or NAMES[layout]
    try:
        name = NameTemplate.parse(text)
    except ValueError as error:
        raise SettingsError(f"--name {text}: {error}", reason="Usage") from error
    like = DesiredModel(Name.parse("scanned"), State.PRESENT, None)
    return Looked(Discover(layout, folder, name, like), folder, _all_of(folder, layout))


def _all_of(folder: str, layout: Layout) -> Scan:
    found = folders.look(folder, layout)
    if isinstance(found, Unknown):
        missing = f"{folder} does not exist; name a folder of GGUFs"
        what = missing if found.reason == "FolderMissing" else found.message
        raise SourceError(what, reason=found.reason)
    return found


def _scanned(looks: Sequence[Looked], store: str) -> _Scanned:
    wish = Desired({}, "", "")
    found = with_discovered(wish, looks, Remembered(), declared=frozenset(), store=store).desired
    facts: dict[str, SourceFact] = {}
    for path in found.files:
        facts[path] = _fact(path)
        facts |= {part: _fact(part) for part in further_parts(path, facts[path])}
    return _Scanned(without_others(found, facts), facts, looks)


def _fact(path: str) -> SourceFact:
    found = sources.look(path)
    if isinstance(found, SourceMissing | Unknown):
        return found
    real_path, stat = found
    try:
        return SourceFile(real_path, stat, None, sources.read_facts(real_path))
    except PaddockError as error:
        return SourceFile(real_path, stat, None, None, Unknown(error.reason, error.message))


def _document(found: _Scanned, *, as_discover: bool) -> Document:
    models = [_model(model, found) for _, model in sorted(found.desired.models.items())]
    entries = [_entry(look.entry) for look in found.looks]
    spec = {"discover": entries} if as_discover else {"models": _models(models)}
    return {
        "format_version": 1,
        "spec": {"version": VERSION, **spec},
        "models": models,
        "left_out": [
            {"path": out.path, "reason": out.reason, "message": out.sentence}
            for out in found.desired.found.notes
        ],
    }


def _entry(entry: Discover) -> Document:
    told = {"layout": entry.layout, "path": entry.path}
    return told if entry.name.text == NAMES[entry.layout] else {**told, "name": entry.name.text}


def _model(model: DesiredModel, found: _Scanned) -> Document:
    source = model.source
    assert isinstance(source, FromFile)
    path, fact = source.model.path, found.facts.get(source.model.path)
    parts = [path] if fact is None else [path, *further_parts(path, fact)]
    facts = fact.facts if isinstance(fact, SourceFile) else None
    return {
        "name": model.name.display,
        "gguf": path,
        "projector": None if source.projector is None else source.projector.path,
        "size_bytes": sum(_size(found.facts.get(part)) for part in parts),
        "parts": len(parts),
        "architecture": None if facts is None else facts.architecture,
        "parameters": None if facts is None else facts.model_type,
        "quantization": None if facts is None else facts.file_type,
        "context_length": None if facts is None else facts.context_length,
        "message": fact.message if isinstance(fact, Unknown | SourceMissing) else None,
    }


def _size(fact: Known[SourceFile] | SourceMissing | None) -> int:
    return fact.stat.size_bytes if isinstance(fact, SourceFile) else 0


def _models(models: Sequence[Document]) -> Document:
    keys = ("gguf", "projector")
    return {m["name"]: {"source": {k: m[k] for k in keys if m[k]}} for m in models}


def _models_text(document: Document) -> str:
    comments = {model["name"]: _comment(model) for model in document["models"]}
    return spec_text(document["spec"]["models"], comments=comments, tail=_left_out(document))


def _discover_text(document: Document) -> str:
    count = views.count(len(document["models"]), "model")
    names = [f"  {model['name']}: {_comment(model)}" for model in document["models"]]
    tail = "\n".join([f"{count} today:", *names, *_left_out(document).splitlines()])
    head = spec_text({}, head=tail)
    return f"{head}\n{list_text('discover', document['spec']['discover'])}"


def _comment(model: Document) -> str:
    """What a person wants to know of a file before it becomes a model."""
    told = (views.human(model["size_bytes"]), model["architecture"], model["parameters"])
    words = [word for word in (*told, model["quantization"]) if word and word != "unknown"]
    if model["parts"] > 1:
        words.append(f"split in {model['parts']} parts, which Ollama merges into a copy")
    if model["projector"]:
        words.append("with a projector")
    if model["message"]:
        words.append(model["message"])
    return ", ".join(words)


def _left_out(document: Document) -> str:
    lines = [f"  {out['message']}" for out in document["left_out"]]
    return "\n".join(["left out:", *lines]) if lines else ""
