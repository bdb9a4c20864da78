"""Guess: which program laid out a folder of models, by its path and its shape.

Pure. Where nothing tells, it is a plain folder, which finds every GGUF too; only the names and the
projectors may be others.
"""

from __future__ import annotations

from paddock.core.discover_files import is_gguf, is_projector
from paddock.core.discover_scan import Scan
from paddock.core.layouts import Layout, is_cached, is_flat

_BY_PATH: tuple[tuple[str, Layout], ...] = (
    ("/.lmstudio/models", "lmstudio"),
    ("/lm-studio/models", "lmstudio"),
    ("/.transformerlab/workspace/models", "transformerlab"),
    ("/llama.cpp", "llamacpp"),
)


def guess_layout(folder: str, scan: Scan) -> Layout:
    """The layout of a folder, of which everything was looked at."""
    for ending, layout in _BY_PATH:
        if folder.endswith(ending):
            return layout
    paths = [e.path for e in scan.entries if is_gguf(e.path)]
    if any(map(is_cached, paths)):
        return "llamacpp" if any("/" not in path for path in paths) else "huggingface"
    if paths and all(map(is_flat, paths)):
        return "llamacpp"
    models = [path for path in paths if not is_projector(path)]
    if models and all(path.count("/") == 2 for path in models):
        return "lmstudio"
    return "directory"
