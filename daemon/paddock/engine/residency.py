"""Residency, the acting half: what is in memory, and how models come and go there.

Asks Ollama to load and to let go, says how far a load is, and keeps what it took. A runner that no
name reaches any more (its model was pulled anew, removed, or lost its manifest) is asked to go by a
name that is made for it: Ollama keys runners by the path of the GGUF's blob
(ollama:server/sched.go schedulerModelKey). What shall be in memory is for `core/residency.py`.
"""

from __future__ import annotations

import asyncio
import contextlib
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import replace

from paddock.core.digest import Digest
from paddock.core.load import Load
from paddock.core.manifest import MODEL_TYPE, Descriptor, Manifest
from paddock.core.names import Name, is_scratch
from paddock.core.observed import Observed, Unknown
from paddock.core.plan import LoadModel, SetKeepAlive, UnloadModel
from paddock.core.view import View, view_of
from paddock.edges.runners import find_runners, read_bytes
from paddock.engine.probe import scratch
from paddock.engine.progress import Meter
from paddock.engine.world import World
from paddock.errors import StoreError

TELL_S = 1.0
LOOK_S = 0.25


async def with_processes(world: World, observed: Observed) -> Observed:
    """The same, with what processes tell: runners that have ended, and those that are being
    started. To be asked of each look at ps."""
    view = view_of(observed)
    if isinstance(observed.running, Unknown) or isinstance(view, Unknown):
        return observed
    observed = await _with_ended(world, observed, view)
    return replace(observed, coming=await _coming(world, observed, view))


async def _coming(world: World, observed: Observed, view: View) -> frozenset[Digest]:
    """The GGUFs that are being loaded: a process holds them, and ps does not list them. Looked for
    only while something is away that was there: it may have gone for one of these."""
    assert not isinstance(observed.running, Unknown)
    listed = {view.runner_digest(runner) for runner in observed.running}
    if observed.memory.shown.keys() <= listed and not observed.memory.went:
        return frozenset()
    manifests = [file.manifest for file in view.manifests.values()]
    digests = {manifest.model_digest for manifest in manifests if manifest is not None}
    paths = {str(world.store.blob_path(d)): d for d in digests - listed if d is not None}
    found = await asyncio.to_thread(find_runners, paths, is_ours=True)
    return frozenset(paths[path] for path in found)


async def _with_ended(world: World, observed: Observed, view: View) -> Observed:
    """The same, with those runners marked whose process is seen to have ended; what the others take
    is kept."""
    assert not isinstance(observed.running, Unknown)
    blobs = {runner: view.runner_digest(runner) for runner in observed.running}
    paths = {
        str(world.store.blob_path(digest)): runner
        for runner, digest in blobs.items()
        if digest is not None
    }
    ended = await world.runners.ended(paths)
    gone = {paths[path] for path in ended}
    for runner, digest in blobs.items():
        if digest is not None and runner.size_bytes and runner not in gone:
            world.state.remember_size(digest, runner.num_ctx, runner.size_bytes)
    if not gone:
        return observed
    running = (replace(r, alive=False) if r in gone else r for r in observed.running)
    return replace(observed, running=tuple(running))


async def load_model(world: World, action: LoadModel) -> None:
    """Load a model, and keep how long that took."""
    gguf = await asyncio.to_thread(_gguf, world, action.name)
    async with _told(world, action, gguf):
        if gguf is None:
            await world.ollama.load(action.name, action.keep_alive)
        elif not await _loads_elsewhere(world, gguf.digest):
            began_s = time.monotonic()
            await world.ollama.load(action.name, action.keep_alive)
            world.state.remember_load_time(gguf.digest, time.monotonic() - began_s)
    if gguf is not None:
        world.runners.expect(str(world.store.blob_path(gguf.digest)))


async def _loads_elsewhere(world: World, digest: Digest) -> bool:
    """Whether a client's request loads the model just now; waits until it has. Asked to load it as
    well, Ollama would do so again, where the client's has other options, and once more at the
    client's next request. What ps lists although it has ended is nobody's."""
    path = str(world.store.blob_path(digest))
    is_listed = await _lists(world, digest)
    while await asyncio.to_thread(find_runners, [path], is_ours=True):
        if is_listed:
            return True
        await asyncio.sleep(LOOK_S)
        is_listed = await _lists(world, digest)
    return False


async def _lists(world: World, digest: Digest) -> bool:
    """Whether ps lists a GGUF, under any name."""
    names = set(await asyncio.to_thread(_names, world, digest))
    return any(runner.name in names for runner in await world.ollama.running())


async def set_keep_alive(world: World, action: SetKeepAlive) -> None:
    """Assert how long a model stays that is in memory as it is."""
    await world.ollama.set_keep_alive(action.running, action.keep_alive, num_ctx=action.num_ctx)


async def unload_model(world: World, action: UnloadModel) -> None:
    """Take a runner out of memory. Raises OllamaError(Busy) where what it does ends late."""
    await unload(world, action.running, action.manifest_digest, action.model_digest)


async def unload(
    world: World, name: Name, manifest_digest: Digest, model_digest: Digest | None = None
) -> None:
    """Ask a runner to go, by a name that reaches it where its GGUF is known, else by the one given,
    and wait until it has."""

    async def ask() -> None:
        reaching = await asyncio.to_thread(_reaching, world, name, model_digest)
        if reaching is not None:
            await world.ollama.set_keep_alive(reaching, 0)
        elif model_digest is not None:
            await _rescue(world, model_digest)

    await world.ollama.unload(manifest_digest, ask, patience_s=world.patience_s)


def _reaching(world: World, name: Name, wanted: Digest | None) -> Name | None:
    """A name whose manifest names the runner's GGUF now: the one it was loaded by, or another."""
    if wanted is None:
        return name
    with contextlib.suppress(StoreError):
        if world.store.read_manifest(name).model_digest == wanted:
            return name
    return min((name for name in _names(world, wanted) if not is_scratch(name)), default=None)


def _names(world: World, digest: Digest) -> list[Name]:
    """The names whose manifest names a GGUF now."""
    found = world.store.manifests().items()
    return [n for n, f in found if f.manifest is not None and f.manifest.model_digest == digest]


async def _rescue(world: World, digest: Digest) -> None:
    """Ask the runner of a GGUF that no name reaches to go. Its blob may be gone: only the path of
    it counts."""
    manifest = Manifest(None, (Descriptor(MODEL_TYPE, digest, 0),))
    async with scratch(world) as name:
        content = manifest.encode()
        await asyncio.to_thread(world.store.write_manifest, name, content, frozenset())
        await world.ollama.set_keep_alive(name, 0)


def _gguf(world: World, name: Name) -> Descriptor | None:
    """The GGUF of a model, of a split one the first part; None where it cannot be told."""
    with contextlib.suppress(StoreError):
        layers = world.store.read_manifest(name).layers
        return next((layer for layer in layers if layer.media_type == MODEL_TYPE), None)
    return None


@asynccontextmanager
async def _told(world: World, action: LoadModel, gguf: Descriptor | None) -> AsyncIterator[None]:
    """Say how far a load is for as long as it goes on."""
    with world.progress.meter(action, f"load {action.name}") as meter:
        telling = asyncio.create_task(_tell(world, meter, gguf))
        try:
            yield
        finally:
            telling.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                await telling


async def _tell(world: World, meter: Meter, gguf: Descriptor | None) -> None:
    if gguf is None:
        return
    path = str(world.store.blob_path(gguf.digest))
    began_s, seen = time.monotonic(), 0
    while True:
        usual_s = world.state.load_time_s(gguf.digest)
        load = Load(gguf.size_bytes, time.monotonic() - began_s, usual_s, seen)
        meter.estimate(load.done_bytes, load.size_bytes, load.phase)
        await asyncio.sleep(TELL_S)
        if usual_s is None:
            seen = max(seen, await asyncio.to_thread(_seen_bytes, path))


def _seen_bytes(path: str) -> int:
    """How much of a model its new process has in memory, where that can be seen."""
    return max(map(read_bytes, find_runners([path], is_ours=True).values()), default=0)
