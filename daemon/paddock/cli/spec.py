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
    """Check each file, and report every problem of all of them."""
    files: list[Path] = options.files or [settings_of(options).spec_path]
    diagnostics: list[Diagnostic] = []
    counts: dict[str, int] = {}
    for file in files:
        try:
            counts[str(file)] = len(load_spec(file, os.environ).spec.models)
        except SpecError as error:
            diagnostics += error.diagnostics
    if diagnostics:
        raise SpecError(diagnostics)
    valid = [{"file": file, "models": models} for file, models in counts.items()]
    text = "\n".join(f"{file}: valid, {views.count(n, 'model')}" for file, n in counts.items())
    views.show({"format_version": 1, "valid": valid}, text, options.output)
    return 0


def schema(options: argparse.Namespace) -> int:
    """Print the JSON Schema of models.yaml, of the status or of a plan."""
    views.show(schema_of(options.kind), "", "yaml" if options.output == "yaml" else "json")
    return 0
