"""Pull: let Ollama fetch a model from its registry, and remember what came.

A pinned pull asks the registry first: `/api/pull` overwrites without asking, so a mismatch must
never reach it, and the model that is there stays. Ollama keeps the parts of a pull that was broken
off, and goes on from them at the next: that is not ours to keep or remove, unless it is unreadable.
"""

from __future__ import annotations

import asyncio
from dataclasses import replace
from functools import partial

import structlog

from paddock.core.digest import digest_of, short
from paddock.core.manifest import parse_manifest
from paddock.core.plan import PullModel
from paddock.core.progress import size
from paddock.core.pull_failures import is_broken_part, judge, without_page
from paddock.edges import registry
from paddock.edges.ollama.pulling import Progress, PullLine
from paddock.edges.store.partials import clear_broken
from paddock.engine.progress import Meter
from paddock.engine.world import World
from paddock.errors import OllamaError, OllamaUnreachable, Retry, SourceError, StoreError

log = structlog.get_logger()

_MANIFEST = "pulling manifest"
_VERIFYING = "verifying"
_LAYER = "pulling "


async def pull(world: World, action: PullModel) -> None:
    """Pull a reference, and record the manifest that it gave."""
    with world.progress.meter(action, f"pull {action.reference}") as meter:
        meter.turn_to("asking its registry")
        await _check_pin(action)
        try:
            await _fetch(world, action, _Layers(meter).take)
        except OllamaUnreachable:
            raise
        except OllamaError as error:
            raise _judged(error) from error
        await _keep(world, action)


async def _fetch(world: World, action: PullModel, progress: Progress) -> None:
    """Pull; where only what is left of an earlier pull is in the way, without that."""
    ask = partial(world.ollama.pull, action.reference, insecure=action.insecure, progress=progress)
    try:
        await ask()
    except OllamaError as error:
        if not is_broken_part(error.message):
            raise
        removed = await asyncio.to_thread(clear_broken, world.store.blobs_dir)
        if not removed:
            raise
        log.warning("broken partial pull removed", model=str(action.reference), files=removed)
        await ask()


async def _check_pin(action: PullModel) -> None:
    if action.digest is None:
        return
    offered = await registry.manifest_digest(action.reference, insecure=action.insecure)
    if offered != action.digest:
        what = f"{action.reference} is {short(offered)} in its registry"
        hint = f"the file pins {short(action.digest)}; change one of them"
        raise SourceError(f"{what}; {hint}", reason="DigestMismatch", retry=Retry.STALLED)


class _Layers:
    """Ollama's lines added up: each layer by its digest, one after another."""

    def __init__(self, meter: Meter):
        self._meter = meter
        self._seen: dict[str, PullLine] = {}
        self._first_bytes = 0

    def take(self, line: PullLine) -> None:
        """One line of the stream."""
        if line.digest not in self._seen:
            # Layers come one after another, and the last of one's bytes have no line.
            for digest, last in self._seen.items():
                self._seen[digest] = replace(last, done_bytes=last.total_bytes)
            # What is there at its first sight came earlier, or was in the store already.
            self._first_bytes += line.done_bytes
        if line.digest:
            self._seen[line.digest] = line
        self._meter.report(self._done, self._total, first_bytes=self._first_bytes)
        self._meter.turn_to(self._phase(line))

    @property
    def _done(self) -> int:
        return sum(line.done_bytes for line in self._seen.values())

    @property
    def _total(self) -> int:
        return sum(line.total_bytes for line in self._seen.values())

    def _phase(self, line: PullLine) -> str:
        if line.status == _MANIFEST:
            return "asking its registry"
        if line.status.startswith(_VERIFYING):
            return f"verifying {size(self._total)}"
        return "" if line.digest or line.status.startswith(_LAYER) else line.status


def _judged(error: OllamaError) -> OllamaError:
    """The same error, with what it means where Ollama's words are known."""
    found = judge(error.message) if type(error).reason == error.reason else None
    if found is None:
        return error
    hint = f"; {found.hint}" if found.hint else ""
    what = without_page(error.message)
    return OllamaError(f"{what}{hint}", reason=found.reason, retry=found.retry)


async def _keep(world: World, action: PullModel) -> None:
    """Remember what came; a manifest of nothing, which Ollama calls a success, is no model."""
    if await asyncio.to_thread(_record, world, action):
        return
    await world.ollama.delete(action.reference)
    what = f"{action.reference.host} gave a manifest without a layer for {action.reference}"
    raise SourceError(f"{what}; is it a registry?", reason="RegistryFailed")


def _record(world: World, action: PullModel) -> bool:
    content = world.store.manifest_bytes(action.reference)
    if content is None:
        what = f"Ollama pulled {action.reference}, but its manifest is not in {world.store.root}"
        raise StoreError(f"{what}; was it removed just now?", reason="ManifestMissing")
    manifest = parse_manifest(content)
    if not manifest.digests:
        return False
    world.state.record_pull(action.reference, digest_of(content), manifest)
    return True
