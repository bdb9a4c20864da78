"""`paddock` that tells what it holds: a program, run in place of the command.

At SIGUSR2 it writes one JSON object to the file that SOAKED names: how many asyncio tasks, threads
and objects of each type are alive after a collection, and the events that it keeps.
"""

from __future__ import annotations

import asyncio
import gc
import json
import os
import signal
import sys
import threading
from collections import Counter
from pathlib import Path

from paddock.cli.main import main


def _tell(*_: object) -> None:
    gc.collect()
    alive = gc.get_objects()
    types = Counter(f"{type(thing).__module__}.{type(thing).__qualname__}" for thing in alive)
    told = {
        "tasks": len(asyncio.all_tasks()),
        "threads": threading.active_count(),
        "objects": len(alive),
        "types": types,
    }
    file = Path(os.environ["SOAKED"])
    new = file.with_suffix(".new")
    new.write_text(json.dumps(told))
    new.replace(file)


if __name__ == "__main__":
    signal.signal(signal.SIGUSR2, _tell)
    sys.exit(main())
