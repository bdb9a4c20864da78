"""`validate` and `schema`: what needs neither Ollama nor a daemon."""

from __future__ import annotations

import argparse
import os
from pathlib import Path

from paddock.cli import views
from paddock.cli.options import settings_of
from paddock.core.schema import schema_of
from paddock.edges.specfile import load_spec
from paddock.errors import Diagnostic, SpecError


def validate(options: argparse.Namespace) -> int:
    """Check each file, and report every problem of all of them; what is valid and hardly meant is
    told as a warning, and does not make it invalid."""
    files: list[Path] = options.files or [settings_of(options).spec_path]
    diagnostics: list[Diagnostic] = []
    warnings: list[Diagnostic] = []
    counts: dict[str, int] = {}
    for file in files:
        try:
            loaded = load_spec(file, os.environ)
            counts[str(file)] = len(loaded.spec.models)
            warnings += loaded.warnings
        except SpecError as error:
            diagnostics += error.diagnostics
    for warning in warnings:
        views.note(f"warning: {warning}")
    if diagnostics:
        raise SpecError(diagnostics)
    valid = [{"file": file, "models": models} for file, models in counts.items()]
    text = "\n".join(f"{file}: valid, {views.count(n, 'model')}" for file, n in counts.items())
    told = [_told(warning) for warning in warnings]
    views.show({"format_version": 1, "valid": valid, "warnings": told}, text, options.output)
    return 0


def _told(warning: Diagnostic) -> dict[str, object]:
    return {
        key: getattr(warning, key) for key in ("file", "line", "column", "where", "what", "hint")
    }


def schema(options: argparse.Namespace) -> int:
    """Print the JSON Schema of models.yaml, of the status or of a plan."""
    views.show(schema_of(options.kind), "", "yaml" if options.output == "yaml" else "json")
    return 0
