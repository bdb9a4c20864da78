"""`doctor`: every check of a host at once, and what to do about it. Changes nothing."""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import shutil
from dataclasses import replace
from pathlib import Path

from paddock.cli import views
from paddock.cli.daemon import ANSWER_S, daemon_socket
from paddock.cli.options import desire_of, settings_of
from paddock.core.desired import Desired
from paddock.core.doctor import Facts, Keeper, document, examine
from paddock.core.observed import Memory
from paddock.core.unknown import Unknown
from paddock.edges.daemon_client import get_json
from paddock.edges.lock import read_holder
from paddock.edges.store import Store
from paddock.edges.store.reader import STATE_DIR
from paddock.engine.planning import look
from paddock.engine.world import World
from paddock.errors import PaddockError, SpecError
from paddock.settings import Settings


def run(options: argparse.Namespace) -> int:
    """Tell what stands in the way of this host."""
    settings = settings_of(options)
    findings = examine(asyncio.run(_facts(settings)))
    views.show(document(findings), views.doctor_text(document(findings)), options.output)
    return PaddockError.exit_code if any(found.verdict == "failed" for found in findings) else 0


async def _facts(settings: Settings) -> Facts:
    desired, problems = _declared(settings)
    facts = Facts(
        file=str(settings.spec_path),
        spec=len(desired.models) if desired is not None else problems,
        url=settings.url,
        ollama=Unknown("OllamaUnreachable", "Ollama was not asked"),
        models_dir=str(settings.models_path),
        store=_store_trouble(settings.models_path),
        free_bytes=_free_bytes(settings.models_path),
        keeper=_keeper(settings),
    )
    world = World.to_read(settings.url, settings.models_path, settings.roots)
    try:
        facts = replace(facts, ollama=await _version(world))
        if desired is not None and facts.store is None:
            facts = await _looked(facts, world, desired)
    finally:
        await world.close()
    return facts


def _declared(settings: Settings) -> tuple[Desired | None, list[str]]:
    try:
        return desire_of(settings)(), []
    except SpecError as error:
        return None, [str(found) for found in error.diagnostics]
    except PaddockError as error:
        return None, [error.message]


def _store_trouble(models_dir: Path) -> str | None:
    try:
        Store(models_dir).check_writable()
    except PaddockError as error:
        return error.message
    return None


def _free_bytes(models_dir: Path) -> int | None:
    with contextlib.suppress(OSError):
        return shutil.disk_usage(models_dir).free
    return None


async def _version(world: World) -> str | Unknown:
    try:
        return await world.ollama.version()
    except PaddockError as error:
        return Unknown(error.reason, error.message)


async def _looked(facts: Facts, world: World, desired: Desired) -> Facts:
    try:
        plan = (await look(world, lambda: desired, Memory())).plan
    except PaddockError as error:  # another server's folder, or one that cannot be read
        return replace(facts, store=error.message)
    return facts if isinstance(facts.ollama, Unknown) else replace(facts, blocked=plan.blocked)


def _keeper(settings: Settings) -> Keeper | None:
    holder = read_holder(settings.models_path / STATE_DIR)
    if holder is None or holder.socket is None:
        return None
    socket = daemon_socket(settings)
    if socket is None:
        return Keeper(str(holder), answers=False)
    status = get_json(socket, "/paddock/status", timeout_s=ANSWER_S)
    told = {c["type"]: c["message"] for c in status["conditions"]}
    serves = {c["type"]: c["status"] == "True" for c in status["conditions"]}
    kind = "ServerRunning"
    server = (serves[kind], told[kind]) if kind in told else None
    return Keeper(str(holder), answers=True, unwatched=told.get("Watched"), server=server)
