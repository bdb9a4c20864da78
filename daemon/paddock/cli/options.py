"""From options to settings, and to the file of models."""

from __future__ import annotations

import argparse
import os

from paddock.engine.desire import Desire
from paddock.settings import Settings, load_settings

_SETTINGS = ("file", "ollama_host", "models_dir", "socket", "managed")


def settings_of(options: argparse.Namespace) -> Settings:
    """The settings with the options over them. Raises SettingsError."""
    given = {name: getattr(options, name, None) for name in _SETTINGS}
    return load_settings(given, getattr(options, "config", None))


def desire_of(settings: Settings) -> Desire:
    """The file of models that the settings name."""
    return Desire(settings.spec_path, os.environ)


def is_verbose(options: argparse.Namespace) -> bool:
    """Whether `-v` was given."""
    return bool(getattr(options, "verbose", False))
