"""The source of a model, as status shows it: in words, and whether it is there.

Pure.
"""

from __future__ import annotations

from typing import assert_never

from paddock.core.conditions import Fact
from paddock.core.desired import (
    DesiredModel,
    FromFile,
    FromHub,
    FromModel,
    FromRegistry,
    Source,
)
from paddock.core.digest import short
from paddock.core.locate import to_download
from paddock.core.observed import SourceFile, SourceMissing, Unknown
from paddock.core.view import View

NOT_OBSERVED: Fact = ("Unknown", "NotObserved", "not looked at yet")


def describe(source: Source | None) -> str:
    """A source as people write it: `gguf: /path`, `registry: name`, `model: name`, `huggingface:
    repository file`."""
    match source:
        case FromFile(hub=FromHub() as hub) | (FromHub() as hub):
            return f"huggingface: {hub.model.repo} {hub.model.pattern}"
        case FromFile(model):
            return f"gguf: {model.path}"
        case FromRegistry(reference):
            return f"registry: {reference}"
        case FromModel(base):
            return f"model: {base}"
        case None:
            return "absent"
        case _:
            assert_never(source)


def source_available(model: DesiredModel, view: View | None) -> Fact:
    """The condition SourceAvailable of a model."""
    if view is None:
        return NOT_OBSERVED
    match model.source:
        case FromFile():
            facts = [_file_available(view, file.path) for file in model.source.files]
            return next((fact for fact in facts if fact[1] != "FileFound"), facts[0])
        case FromHub():
            return _hub_available(view, model.source)
        case FromRegistry(reference):
            pulled = reference in view.manifests
            return ("True", "Pulled", "pulled") if pulled else ("Unknown", "NotPulled", "to pull")
        case FromModel(base):
            there = base in view.manifests
            return (
                ("True", "BaseInstalled", f"{base} is installed")
                if there
                else ("False", "BaseMissing", f"{base} is not installed")
            )
        case None:
            return "False", "NoSource", "no source"
        case _:
            assert_never(model.source)


def _hub_available(view: View, source: FromHub) -> Fact:
    """Of what was found, the source is files already."""
    missing = to_download(source, view.observed.hub)
    if isinstance(missing, Unknown):
        return "Unknown", missing.reason, missing.message
    return "Unknown", "NotDownloaded", "to download"


def _file_available(view: View, path: str) -> Fact:
    match view.observed.sources.get(path):
        case SourceFile(real_path, digest=digest, proof="hashed", claim=claim) if (
            digest is not None and claim not in (None, digest)
        ):
            return "True", "ClaimFalse", f"{real_path} is {short(digest)}, not what it is named"
        case SourceFile(real_path=real_path):
            return "True", "FileFound", real_path
        case SourceMissing(message):
            return "False", "SourceMissing", message
        case Unknown(reason, message):
            return "Unknown", reason, message
        case None:
            return NOT_OBSERVED
