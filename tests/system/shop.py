"""shop.py OLLAMA VERSION GGUF RATE: a registry inside a bed, with one model, until stdin ends.

Prints the model's reference, which it sends with RATE bytes a second. For each line on stdin, the
rate from then on, it prints how many bytes of blobs it has sent until then.
"""

from __future__ import annotations

import shutil
import sys
import tempfile
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from provider import RealPaths
from real import RealOllama
from registry import LoopbackRegistry, provide_programs


def main() -> None:
    ollama, version, gguf, rate = sys.argv[1:]
    folder = Path(tempfile.mkdtemp())
    paths = RealPaths(Path(ollama), None, None, Path(gguf), version)
    goods = folder / "goods.gguf"  # nobody has its bytes yet
    goods.write_bytes(Path(gguf).read_bytes()[:-64] + bytes(64))
    with LoopbackRegistry(provide_programs(), folder / "registry") as registry:
        with RealOllama(paths, folder / "author") as author:
            author.create_from_gguf("smol", goods)
            reference = registry.push(author, "smol")
        shutil.rmtree(folder / "author")
        registry.slow(int(rate))
        print(reference, flush=True)
        for line in sys.stdin:
            registry.slow(int(line))
            print(registry.sent_bytes(), flush=True)


if __name__ == "__main__":
    main()
