"""Which program laid out a folder, by its path and its shape."""

from __future__ import annotations

import pytest

from discovering import scan
from paddock.cli.main import LAYOUTS
from paddock.core.discover_guess import guess_layout
from paddock.core.layouts import NAMES


@pytest.mark.parametrize(
    ("folder", "files", "layout"),
    [
        ("/home/a/.lmstudio/models", ["x.gguf"], "lmstudio"),
        ("/home/a/.cache/lm-studio/models", [], "lmstudio"),
        ("/home/a/.transformerlab/workspace/models", [], "transformerlab"),
        ("/home/a/.cache/llama.cpp", [], "llamacpp"),
        ("/srv", ["p/r/x.gguf", "p/s/y.gguf", "p/r/mmproj.gguf"], "lmstudio"),
        ("/srv", ["p/r/x.gguf", "y.gguf"], "directory"),
        ("/srv", ["models--p--r/snapshots/c0/x.gguf"], "huggingface"),
        ("/srv", ["models--p--r/snapshots/c0/x.gguf", "p_r-GGUF_x.gguf"], "llamacpp"),
        ("/srv", ["p_r-GGUF_x.gguf"], "llamacpp"),
        ("/srv", ["p_r-GGUF_x.gguf", "y.gguf"], "directory"),
        ("/srv", [], "directory"),
    ],
)
def test_a_layout_is_guessed(folder: str, files: list[str], layout: str) -> None:
    assert guess_layout(folder, scan(*files)) == layout


def test_the_command_line_knows_every_layout() -> None:
    assert tuple(NAMES) == LAYOUTS
