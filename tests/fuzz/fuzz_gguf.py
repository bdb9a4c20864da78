"""Coverage-guided fuzzing of the GGUF reader; `make fuzz`, or `python -m fuzz.fuzz_gguf --help`.

Starts from the kept corpus and the seeds. New inputs lie in `.fuzz/gguf/`, and one that breaks the
reader is left there as `crash-*`; `--keep` makes the kept corpus anew, as few small inputs as give
the same coverage. The suite replays that corpus (`tests/properties/test_gguf_corpus.py`).
"""

from __future__ import annotations

import argparse
import shutil
import sys
from contextlib import nullcontext
from pathlib import Path

import atheris

from fuzz.gguf_seeds import seeds

with atheris.instrument_imports(include=["paddock.core"]):
    for _name in [name for name in sys.modules if name.startswith("paddock.core")]:
        del sys.modules[_name]  # the seeds brought it without instruments
    from fuzz.gguf_bounds import bounded_memory, survive
    from paddock.core import gguf_cursor

HERE = Path(__file__).resolve().parent
KEPT = HERE / "corpus" / "gguf"
FOUND = HERE.parents[1] / ".fuzz" / "gguf"
MAX_INPUT_BYTES = 4096
WINDOW_BYTES = 4096  # so that small inputs reach its borders


def main() -> None:
    """Fuzzes for a time, or keeps what earlier runs found; what libFuzzer is told comes last."""
    parser = argparse.ArgumentParser(description="fuzzes the GGUF reader")
    parser.add_argument("--seconds", type=int, default=60, help="how long (default 60)")
    parser.add_argument("--keep", action="store_true", help="make the kept corpus anew and end")
    chosen, flags = parser.parse_known_args()
    FOUND.mkdir(parents=True, exist_ok=True)
    for name, data in seeds().items():
        (FOUND / f"seed-{name}").write_bytes(data)
    gguf_cursor.WINDOW_BYTES = WINDOW_BYTES
    flags = flags or (_keep() if chosen.keep else _fuzz(chosen.seconds))
    # libFuzzer starts this command anew, with its own flags, to compare inputs.
    atheris.Setup([f"{sys.executable} -m fuzz.fuzz_gguf", *flags], _try)
    atheris.Fuzz()


def _fuzz(seconds: int) -> list[str]:
    return [
        f"-max_total_time={seconds}",
        f"-max_len={MAX_INPUT_BYTES}",
        f"-dict={HERE / 'gguf.dict'}",
        f"-artifact_prefix={FOUND}/",
        "-timeout=10",
        "-print_final_stats=1",
        str(FOUND),
        str(KEPT),
    ]


def _try(data: bytes) -> None:
    """Watches the memory of one input in 16, which is slow; the suite watches all that is kept."""
    with nullcontext() if len(data) % 16 else bounded_memory():
        survive(data)


def _keep() -> list[str]:
    shutil.rmtree(KEPT, ignore_errors=True)
    KEPT.mkdir(parents=True)
    for name, data in seeds().items():
        (KEPT / name).write_bytes(data)
    return ["-merge=1", str(KEPT), str(FOUND)]


if __name__ == "__main__":
    main()
