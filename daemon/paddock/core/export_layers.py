"""From a manifest's small layers to the keys of models.yaml, and what one says over another.

Pure. Reads template, system, parameters, messages and licences as Ollama does (Go's decoder puts
U+FFFD for half a surrogate pair); what models.yaml cannot hold is left out, and said in a note.
"""

from __future__ import annotations

import itertools
import json
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from pydantic import ValidationError

from paddock.core.desired import Message, Overrides
from paddock.core.digest import Digest
from paddock.core.manifest import (
    LICENSE_TYPE,
    MESSAGES_TYPE,
    PARAMS_TYPE,
    SYSTEM_TYPE,
    TEMPLATE_TYPE,
    Manifest,
)
from paddock.core.parameters import Parameters

_ROLES = frozenset({"system", "user", "assistant"})
_MESSAGE_KEYS = frozenset({"role", "content"})
_SURROGATE = re.compile("[\ud800-\udfff]")


@dataclass(frozen=True, slots=True)
class Said:
    """What small layers say, as keys of models.yaml, and notes on what could not be said."""

    keys: Mapping[str, Any] = field(default_factory=dict)
    notes: tuple[str, ...] = ()

    @property
    def overrides(self) -> Overrides:
        """The same as the planner knows it."""
        keys, texts = self.keys, self.keys.get("license", ())
        parameters = Parameters.model_validate(keys.get("parameters", {}))
        return Overrides(
            template=keys.get("template"),
            system=keys.get("system"),
            parameters=dict(parameters.options()),
            messages=tuple(Message(**message) for message in keys.get("messages", ())),
            license=(texts,) if isinstance(texts, str) else tuple(texts),
        )


def read_layers(manifest: Manifest, texts: Mapping[Digest, bytes]) -> Said:
    """What the small layers of a manifest say; `texts` are their bytes, by digest."""
    keys: dict[str, Any] = {}
    notes: list[str] = []
    licences: list[str] = []
    for layer in manifest.layers:
        content = texts.get(layer.digest)
        if content is None:
            continue
        match layer.media_type:
            case _ if layer.media_type == TEMPLATE_TYPE:
                keys["template"] = _text(content)
            case _ if layer.media_type == SYSTEM_TYPE:
                keys["system"] = _text(content)
            case _ if layer.media_type == LICENSE_TYPE:
                licences.append(_text(content))
            case _ if layer.media_type == PARAMS_TYPE:
                keys["parameters"], left_out = _parameters(content)
                notes += left_out
            case _ if layer.media_type == MESSAGES_TYPE:
                keys["messages"], left_out = _messages(content)
                notes += left_out
            case _:
                pass
    keys["license"] = _one_or_many([text for text in licences if text])
    order = ("template", "system", "parameters", "messages", "license")
    return Said({key: keys[key] for key in order if keys.get(key)}, tuple(notes))


def over(said: Said, base: Said) -> Said | None:
    """What must be written over `base` to say the same; None where nothing could: parameters merge
    by key and licences add (so none can be taken away), all else is replaced."""
    mine, its = said.keys, base.keys
    gone = [key for key in its if key not in mine]
    if gone or its.get("parameters", {}).keys() - mine.get("parameters", {}).keys():
        return None
    keys = {key: value for key, value in mine.items() if its.get(key) != value}
    if "parameters" in keys:
        old = its.get("parameters", {})
        new = {key: value for key, value in mine["parameters"].items() if old.get(key) != value}
        keys["parameters"] = new
    if "license" in keys and "license" in its:
        before, after = _many(its["license"]), _many(mine["license"])
        if after[: len(before)] != before:
            return None
        keys["license"] = _one_or_many(after[len(before) :])
    return Said(keys, said.notes)


def parts_of(said: Said) -> Iterator[Said]:
    """What the author may have written of it, least first: Ollama adds a template and stops."""
    choices = [[None, key] for key in said.keys if key != "parameters"]
    parameters = said.keys.get("parameters")
    variants: list[Mapping[str, Any] | None] = [None]
    if parameters:
        without = {key: value for key, value in parameters.items() if key != "stop"}
        variants += [without, parameters] if without != parameters and without else [parameters]
    found = []
    for given, *chosen in itertools.product(variants, *choices):
        keys = {key: said.keys[key] for key in chosen if key is not None}
        if given:
            keys["parameters"] = given
        found.append(Said({key: keys[key] for key in said.keys if key in keys}, said.notes))
    return iter(sorted(found, key=lambda one: (len(one.keys), "template" in one.keys)))


def _parameters(content: bytes) -> tuple[dict[str, Any], list[str]]:
    document = _json(content)
    if not isinstance(document, dict):
        return {}, ["its parameters cannot be read"]
    kept: dict[str, Any] = {}
    notes = []
    for key, value in document.items():
        if value is None:
            continue
        try:
            clean = _clean(value)
            Parameters.model_validate({key: clean})
            kept[key] = clean
        except ValidationError:
            notes.append(f"its parameter {key[:40]} is left out: Ollama takes none such")
    return dict(sorted(kept.items())), notes


def _messages(content: bytes) -> tuple[list[dict[str, str]], list[str]]:
    document = _json(content)
    kept = []
    for line in document if isinstance(document, list) else [document]:
        if not isinstance(line, dict) or not _is_plain(line):
            return [], ["its messages are left out: they hold more than texts"]
        kept.append({"role": line["role"], "content": _clean(str(line.get("content") or ""))})
    return kept, []


def _is_plain(message: Mapping[str, Any]) -> bool:
    return {k for k, v in message.items() if v} <= _MESSAGE_KEYS and message.get("role") in _ROLES


def _json(content: bytes) -> Any:
    try:
        return json.loads(content)
    except (ValueError, RecursionError):
        return None


def _text(content: bytes) -> str:
    return content.decode("utf-8", "replace")


def _clean(value: Any) -> Any:
    if isinstance(value, list):
        return [_clean(item) for item in value]
    return _SURROGATE.sub("\ufffd", value) if isinstance(value, str) else value


def _one_or_many(texts: Sequence[str]) -> str | list[str]:
    return texts[0] if len(texts) == 1 else list(texts)


def _many(texts: str | Sequence[str]) -> list[str]:
    return [texts] if isinstance(texts, str) else list(texts)
