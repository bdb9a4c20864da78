"""models.yaml as text: writing one, and the lines that a bad one is told of with."""

from __future__ import annotations

from pathlib import Path

import pytest

from paddock.edges.specfile import LoadedSpec, load_spec
from paddock.errors import SpecError

HEAD = "version: 1\nmodels:\n"  # a model below it begins on line 3
EMPTY = (
    "the file is empty; an empty file never removes anything: "
    "write version: 1 and models: {} to declare none"
)


def write(folder: Path, text: str | bytes, name: str = "models.yaml") -> Path:
    path = folder / name
    path.write_bytes(text if isinstance(text, bytes) else text.encode())
    return path


def load(folder: Path, text: str | bytes, **env: str) -> LoadedSpec:
    return load_spec(write(folder, text), env, home=Path("/home/alice"))


def complaints(path: Path, **env: str) -> list[str]:
    """The lines of the SpecError, without the folder's path."""
    with pytest.raises(SpecError) as caught:
        load_spec(path, env, home=Path("/home/alice"))
    assert caught.value.exit_code == 10
    text = caught.value.message.replace(f"{path}/", "")
    return text.replace(f"{path.parent}/", "").splitlines()
