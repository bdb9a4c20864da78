"""How the residency does over a day of clients, crashes and restarts, in simulated time.

    .venv/bin/python tests/bench/bench_residency.py [DAYS]

Prints for each scene and day how much of all time each pin was in memory, how much of the time that
it fitted, and how much of that without what was unavoidable; how many requests of Paddock's there
were for how many disturbances; and by what the time that pins were away was lost.

What "fits" and "unavoidable" mean says tests/resident_tally.py: a pin fits if there is room for it,
by priority, beside what is in use or else cannot be moved at that time. In use counts for Ollama's
room and for the memory_limit alike. Time in which Paddock could have had the pin there is lost,
whatever the reason. See tests/scheduling.py for what the model of Ollama's scheduler keeps of it.
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
            print(f"{name}, seed {seed}\n{scene(seed).run().line()}")


if __name__ == "__main__":
    main()
