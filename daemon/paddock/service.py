"""The service: how `paddock run` lives. Starts up, serves, and shuts down.

Puts the loop, the triggers and the socket together; it alone has a task group and signal handlers.
"""

from __future__ import annotations

import asyncio
import os
import signal
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import structlog

from paddock.core.conditions import condition
from paddock.core.desired import DesiredModel, State
from paddock.core.names import Name
from paddock.core.plan_json import plan_to_json
from paddock.endpoint.ports import Admission
from paddock.endpoint.server import Endpoint
from paddock.endpoint.socket import claim_socket, default_socket_path
from paddock.engine.desire import Desire
from paddock.engine.loop import Loop
from paddock.engine.triggers import spec_folders, watch
from paddock.engine.world import World, this_process
from paddock.errors import InvalidName
from paddock.settings import Settings

log = structlog.get_logger()

NOT_READY_S = 2
STORE_LOOK_S = 2.0


async def run(settings: Settings, environ: Mapping[str, str]) -> None:
    """Run until SIGTERM or SIGINT. Raises PaddockError when it cannot start."""
    desire = Desire(settings.spec_path, environ)
    desired = desire()
    socket_path = settings.socket or default_socket_path(environ, os.geteuid())
    holder = this_process(_now(), str(desire.path.resolve()), str(socket_path))
    await _wait_for_store(settings)
    world = World.to_write(settings.url, settings.models_path, holder)
    try:
        loop = Loop(world, desire, desired, poll_s=min(settings.poll, settings.interval))
        with claim_socket(
            socket_path,
            mode=settings.socket_mode,
            group=settings.socket_group,
            environ=environ,
        ) as claim:
            log.info("started", file=str(desire.path), ollama=settings.url, socket=str(claim.path))
            async with _signals(loop.wake) as stop:
                endpoint = Endpoint(Daemon(loop, world), settings.url)
                await endpoint.start(claim.sock)
                await _serve(loop, desire, world, stop)
                log.info("stopping", drain_s=settings.drain)
                await endpoint.stop(settings.drain)
    finally:
        await world.close()
    log.info("stopped")


async def _wait_for_store(settings: Settings) -> None:
    """Ollama makes its models folder when it first starts: until then there is nothing to keep."""
    if not settings.models_path.is_dir():
        log.warning("models folder missing", path=str(settings.models_path), waiting_for="Ollama")
    while not settings.models_path.is_dir():  # noqa: ASYNC110  a folder sends no event
        await asyncio.sleep(min(settings.poll, STORE_LOOK_S))


async def _serve(loop: Loop, desire: Desire, world: World, stop: asyncio.Event) -> None:
    async with asyncio.TaskGroup() as tasks:
        tasks.create_task(_watch(loop, desire, world, stop))
        reconciling = tasks.create_task(loop.run(stop))
        await stop.wait()
        # A hash or a load under way is given up; it is done again at the next start.
        reconciling.cancel()


async def _watch(loop: Loop, desire: Desire, world: World, stop: asyncio.Event) -> None:
    """Watch what the file is made of, and the store."""

    def folders() -> set[Path]:
        return {*spec_folders(desire.files), world.store.blobs_dir, world.store.manifests_dir}

    await watch(folders, loop.wake, stop)


@asynccontextmanager
async def _signals(wake: asyncio.Event) -> AsyncIterator[asyncio.Event]:
    """SIGTERM and SIGINT ask to stop, SIGHUP for a cycle; as before on the way out."""
    stop, running = asyncio.Event(), asyncio.get_running_loop()
    handlers = {signal.SIGTERM: stop.set, signal.SIGINT: stop.set, signal.SIGHUP: wake.set}
    for number, handler in handlers.items():
        running.add_signal_handler(number, handler)
    try:
        yield stop
    finally:
        for number in handlers:
            running.remove_signal_handler(number)


class Daemon:
    """What the endpoint may ask of the daemon (`endpoint/ports.py` Host)."""

    def __init__(self, loop: Loop, world: World):
        self._loop = loop
        self._world = world

    def status(self) -> Mapping[str, Any]:
        """The status as JSON."""
        return self._loop.status.to_json()

    def plan(self) -> Mapping[str, Any] | None:
        """The last plan as JSON."""
        return None if self._loop.plan is None else plan_to_json(self._loop.plan)

    def healthy(self) -> bool:
        """Whether the loop lives: it ends only with the process."""
        return True

    def ready(self) -> tuple[bool, str]:
        """Whether the first cycle is done and Ollama answers."""
        reachable = condition(self._loop.status.conditions, "OllamaReachable")
        return reachable.status == "True" and self._loop.cycles > 0, reachable.message

    async def reconcile(self) -> Mapping[str, Any]:
        """Ask for a cycle and wait for its end."""
        finished = await self._loop.ask()
        outcomes = [outcome.to_json() for outcome in finished.outcomes]
        return {"outcomes": outcomes, "status": finished.status.to_json()}

    async def admit(self, model: str) -> Admission:
        """Decide on one request: undeclared models are served as they are."""
        try:
            name = Name.parse_request(model)
        except InvalidName:
            return _as_it_is(model)
        declared = self._declared(name)
        if declared is None:
            return _as_it_is(model)
        if declared.state is State.ABSENT:
            return _refused(model, "not_found", "Absent", f'model "{model}" is declared absent')
        trouble = await asyncio.to_thread(self._trouble, declared)
        if trouble is not None:
            self._loop.wake.set()
            return _refused(model, "not_ready", *trouble)
        keep_alive = declared.residency.keep_alive
        return Admission(
            name=model,
            verdict="serve",
            reason="",
            message="",
            retry_after_s=0,
            keep_alive=None if keep_alive is None else keep_alive.wire,
            client_keep_alive_allowed=keep_alive is None,
        )

    def _declared(self, name: Name) -> DesiredModel | None:
        models = self._loop.desired.models
        found = models.get(name)
        if found is None:
            folded = name.folded
            found = next((m for n, m in models.items() if n.folded == folded), None)
        return found

    def _trouble(self, model: DesiredModel) -> tuple[str, str] | None:
        """Why a declared model cannot be served now: not made yet, or its link is broken."""
        status = self._loop.status.model(model.name.display)
        if status is None or status.digest is None:
            return "NotReady", f"{model.name} is being made"
        current = condition(status.conditions, "ManifestCurrent")
        if current.status == "False":
            return current.reason, f"{model.name} is being made: {current.message}"
        if not self._world.store.has_blob(status.digest):
            return "LinkBroken", f"{model.name}: its file is missing; it is being repaired"
        return None


def _as_it_is(model: str) -> Admission:
    return Admission(model, "serve", "", "", 0, None, client_keep_alive_allowed=True)


def _refused(model: str, verdict: Any, reason: str, message: str) -> Admission:
    return Admission(
        model, verdict, reason, message, NOT_READY_S, None, client_keep_alive_allowed=False
    )


def _now() -> str:
    return datetime.now(UTC).isoformat(timespec="seconds")
