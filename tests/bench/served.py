"""Paddock's endpoint as a process of its own, with a host that admits every model."""

from __future__ import annotations

import asyncio
import gc
import signal
import sys
from pathlib import Path

from endpoints import serving
from paddock.cli.main import GC_THRESHOLD
from paddock.endpoint.lane_loop import new_loop
from paddock.endpoint.ports import EndpointLimits
from paddock.logs import configure_logs

LIMITS = EndpointLimits(max_streams=1024, max_streams_per_user=1024)


async def main(path: Path, url: str) -> None:
    stop = asyncio.Event()
    asyncio.get_running_loop().add_signal_handler(signal.SIGTERM, stop.set)
    async with serving(path, url, limits=LIMITS):
        print("ready", flush=True)
        await stop.wait()


if __name__ == "__main__":
    configure_logs("info", "json")
    gc.set_threshold(*GC_THRESHOLD)  # both as the daemon does
    gc.freeze()
    with asyncio.Runner(loop_factory=new_loop) as runner:
        runner.run(main(Path(sys.argv[1]), sys.argv[2]))
