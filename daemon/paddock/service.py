"""The service: how `paddock run` lives. Starts up, serves, and shuts down.

Puts the loop, the triggers and the socket together; it alone has a task group and signal handlers.
"""

from __future__ import annotations

import asyncio
import os
import resource
import signal
import socket
from collections.abc import AsyncIterator, Callable, Iterable, Mapping
from contextlib import asynccontextmanager
from datetime import UTC, datetime
from pathlib import Path

import structlog

from paddock.edges.accounts import user_id
from paddock.edges.mounts import follow_mounts
from paddock.edges.ollama.presence import follow_presence
from paddock.endpoint.listener import listen_on, own_names
from paddock.endpoint.ports import EndpointLimits
from paddock.endpoint.server import Endpoint
from paddock.endpoint.socket import claim_socket, default_socket_path
from paddock.engine.desire import Desire
from paddock.engine.folders import folders_to_watch
from paddock.engine.logged import log_cycle, log_doubt
from paddock.engine.loop import Ended, Finished, Loop
from paddock.engine.slow import SlowLooks, use_threads
from paddock.engine.triggers import (
    Bell,
    Tell,
    Watch,
    Watched,
    comes_or_goes,
    first_of,
    watched_blobs,
    watched_files,
    watched_trees,
)
from paddock.engine.world import World, this_process
from paddock.errors import SettingsError
from paddock.host.daemon import Daemon
from paddock.host.managed import FIRST_ANSWER_S, kept, prepare
from paddock.host.metrics import Metrics
from paddock.host.supervised import Supervised
from paddock.settings import Settings

log = structlog.get_logger()

STORE_LOOK_S = 2.0
OUR_GAP_S = 0.2
SPARE_FILES = 512  # beside a connection to us and one to Ollama for each client


async def run(settings: Settings, environ: Mapping[str, str]) -> None:
    """Run until SIGTERM or SIGINT. Raises PaddockError when it cannot start."""
    use_threads()
    admins = _uids(settings.admins)
    desire = Desire(settings.spec_path, environ, log_doubt)
    desired = desire()
    socket_path = settings.socket or default_socket_path(environ, os.geteuid())
    holder = this_process(_now(), str(desire.path.resolve()), str(socket_path))
    poll_s = min(settings.poll, settings.interval)
    supervised = Supervised.of(environ, poll_s=poll_s, drain_s=settings.drain)
    settings, serving = await prepare(settings, environ)
    await _wait_for_store(settings, supervised)
    world = World.to_write(settings.url, settings.models_path, holder, settings.roots)
    world.hf_token, world.interval_s = settings.token, settings.interval
    try:
        ended = _all_told((metrics := Metrics()).cycle_ended, supervised.cycle_ended)
        loop = Loop(world, desire, desired, poll_s=poll_s, ended=ended)
        allowed = settings.undeclared == "allow"
        daemon = Daemon(loop, world, metrics=metrics, allow_undeclared=allowed)
        with claim_socket(
            socket_path,
            mode=settings.socket_mode,
            group=settings.socket_group,
            environ=environ,
        ) as claim:
            log.info("started", file=str(desire.path), ollama=settings.url, socket=str(claim.path))
            async with (
                _signals(lambda: supervised.reload(loop)) as stop,
                kept(serving, loop) as served,
            ):
                endpoint = Endpoint(daemon, settings.url, limits=limits_of(settings), admins=admins)
                await _start(endpoint, claim.sock, settings)
                supervised.begin(loop, world.progress)
                await first_of(served, stop, timeout_s=FIRST_ANSWER_S)
                await _serve(loop, desire, world, stop=stop, supervised=supervised)
                log.info("stopping", drain_s=settings.drain)
                await endpoint.stop(settings.drain)
    finally:
        await world.close()
    log.info("stopped")


def _all_told(*hearers: Ended) -> Ended:
    """Tells each of the end of a cycle, and the log of one that did something."""

    def ended(cycle: Finished) -> None:
        for hear in hearers:
            hear(cycle)
        log_cycle(cycle.outcomes, cycle.elapsed_s)

    return ended


async def _start(endpoint: Endpoint, sock: socket.socket, settings: Settings) -> None:
    """Serve on the socket, and on TCP what the settings allow there."""
    open_files, most = resource.getrlimit(resource.RLIMIT_NOFILE)
    needed = min(2 * settings.max_connections + SPARE_FILES, most)
    if open_files < needed:
        resource.setrlimit(resource.RLIMIT_NOFILE, (needed, most))
    if settings.listen is not None:
        host, port = settings.listen
        public = listen_on(host, port)
        await endpoint.start_public(public, own_names(host))
        log.info("listening", host=host, port=public.getsockname()[1])
    await endpoint.start(sock)


def limits_of(settings: Settings) -> EndpointLimits:
    """The limits of the socket, as they are set."""
    return EndpointLimits(
        max_header_bytes=settings.max_header,
        max_body_bytes=settings.max_body,
        max_buffered_bytes=settings.max_buffered,
        max_streams=settings.max_streams,
        max_streams_per_user=settings.max_streams_per_user,
        max_connections=settings.max_connections,
        max_connections_per_user=settings.max_connections_per_user,
        max_followers=settings.max_followers,
        max_wait_s=settings.max_wait,
        header_s=settings.header_time,
        body_s=settings.body_time,
        first_answer_s=settings.answer_time,
        upstream_idle_s=settings.idle_time,
        client_stall_s=settings.stall_time,
    )


def _uids(names: tuple[str, ...]) -> frozenset[int]:
    found = {name: int(name) if name.isdecimal() else user_id(name) for name in names}
    unknown = [name for name, uid in found.items() if uid is None]
    if unknown:
        raise SettingsError(f"setting admins: no user is called {unknown[0]}; name one, or a uid")
    return frozenset(uid for uid in found.values() if uid is not None)


async def _wait_for_store(settings: Settings, supervised: Supervised) -> None:
    """Ollama makes its models folder when it first starts: until then there is nothing to keep."""
    path, looks, told = settings.models_path, SlowLooks(), ""
    while (waits_for := await asyncio.to_thread(_lacks, path, looks)) is not None:
        if waits_for != told:
            log.warning("models folder missing", path=str(path), waiting_for=waits_for)
        told = waits_for
        supervised.waits_for_store(f"waits for {waits_for}")
        await asyncio.sleep(min(settings.poll, STORE_LOOK_S))  # a folder sends no event


def _lacks(path: Path, looks: SlowLooks) -> str | None:
    """What a models folder waits for that is not there."""
    try:
        return None if looks.run(str(path), path.is_dir) else f"Ollama to make {path}"
    except TimeoutError:
        return f"the disk of {path} to answer"


async def _serve(
    loop: Loop, desire: Desire, world: World, *, stop: asyncio.Event, supervised: Supervised
) -> None:
    async with asyncio.TaskGroup() as tasks:
        tasks.create_task(_watch(loop, desire, world, stop))
        reconciling = tasks.create_task(loop.run(stop))
        following = tasks.create_task(
            follow_presence(world.ollama.url, loop.wake.set, loop.ollama_restarted)
        )
        telling = tasks.create_task(supervised.run())
        await stop.wait()
        telling.cancel()
        supervised.stopping()
        # A hash or a load under way is given up; it is done again at the next start.
        reconciling.cancel()
        following.cancel()


async def _watch(loop: Loop, desire: Desire, world: World, stop: asyncio.Event) -> None:
    """Watch what the file is made of, the sources, the store, and folders of models."""
    store, wake = (world.store.blobs_dir, world.store.manifests_dir), loop.wake

    def files() -> Watched:
        places = (*store, *folders_to_watch(loop.desired))
        return watched_files((*desire.files, *_sources(loop)), places)

    def files_of() -> object:
        return desire.files, loop.desired, loop.cycle.desired

    def trees() -> Watched:
        return watched_trees(folders_to_watch(loop.desired))

    def tell(what: str) -> Tell:
        return lambda paths: loop.not_watched(what, paths)

    # Apart, so that a tree too large to watch does not take the others with it into polling, and
    # so that what we write to the store ourselves makes nobody wait for an edit to be seen.
    ours = Bell(wake, most_gap_s=OUR_GAP_S)
    of_file = (
        Watch(files, Bell(wake), tell("files"), made_of=files_of),
        Watch(trees, Bell(wake), tell("discover"), comes_or_goes),
    )
    of_store = (
        Watch(lambda: watched_blobs(store[0]), ours, tell("blobs")),
        Watch(lambda: watched_trees(store[1:]), ours, tell("manifests")),
    )
    async with asyncio.TaskGroup() as tasks:
        for one in (*of_file, *of_store):
            tasks.create_task(one.run(stop))
        edits = tasks.create_task(_follow(loop, files_of, of_file))
        disks = tasks.create_task(follow_mounts(lambda: _look_again((*of_file, *of_store))))
        await stop.wait()
        edits.cancel()
        disks.cancel()


async def _follow(loop: Loop, made_of: Callable[[], object], watches: Iterable[Watch]) -> None:
    """What a file newly names is watched from when a cycle has seen it."""
    seen = made_of()
    while True:
        await loop.changed()
        before, seen = seen, made_of()
        if seen != before:
            _look_again(watches)


def _look_again(watches: Iterable[Watch]) -> None:
    for watch in watches:
        watch.again.set()


def _sources(loop: Loop) -> list[Path]:
    """The files that models are made of, but those in folders of models: they are watched there."""
    desired = loop.cycle.desired
    return [Path(path) for path in desired.files if path not in desired.found.files]


@asynccontextmanager
async def _signals(reload: Callable[[], None]) -> AsyncIterator[asyncio.Event]:
    """SIGTERM and SIGINT ask to stop, SIGHUP for the file; as before on the way out."""
    stop, running = asyncio.Event(), asyncio.get_running_loop()
    handlers = {signal.SIGTERM: stop.set, signal.SIGINT: stop.set, signal.SIGHUP: reload}
    for number, handler in handlers.items():
        running.add_signal_handler(number, handler)
    try:
        yield stop
    finally:
        for number in handlers:
            running.remove_signal_handler(number)


def _now() -> str:
    return datetime.now(UTC).isoformat(timespec="seconds")
