"""How the residency does over a day of clients, crashes and restarts, in simulated time.

    .venv/bin/python tests/bench/bench_residency.py [DAYS]

Prints a line a scene and day: how much of the time that a pin fitted it was in memory, and how many
requests of Paddock's there were for how many disturbances. See tests/scheduling.py for what the
model of Ollama's scheduler keeps of it.
"""

from __future__ import annotations

import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[1]))

from resident_scenes import SCENES


def main() -> None:
    """Live through some days of each scene."""
    days = int(sys.argv[1]) if len(sys.argv) > 1 else 3
    for name, scene in SCENES.items():
        for seed in range(1, days + 1):
            print(f"{name:8} {seed}: {scene(seed).run().line()}")


if __name__ == "__main__":
    main()
