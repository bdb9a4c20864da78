"""Where a real Ollama and a real GGUF come from: `scripts/real_ollama.py`, asked once a run."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import NamedTuple

ROOT = Path(__file__).resolve().parent.parent
PROVIDER = ROOT / "scripts" / "real_ollama.py"


class RealPaths(NamedTuple):
    """The binaries (an installed Ollama may hide its helpers), the GGUF, and Ollama's version."""

    ollama: Path
    llama_server: Path | None
    llama_quantize: Path | None
    gguf: Path
    version: str


def provide() -> RealPaths:
    """Runs the script, which finds or builds a real Ollama; raises RuntimeError if it cannot."""
    result = subprocess.run(
        [sys.executable, PROVIDER], stdout=subprocess.PIPE, text=True, check=False
    )
    if result.returncode != 0:
        raise RuntimeError(f"scripts/real_ollama.py ended with {result.returncode}; see above")
    found = json.loads(result.stdout)
    server, quantize = found["llama_server"], found["llama_quantize"]
    return RealPaths(
        ollama=Path(found["ollama"]),
        llama_server=Path(server) if server else None,
        llama_quantize=Path(quantize) if quantize else None,
        gguf=Path(found["gguf"]),
        version=found["version"],
    )
