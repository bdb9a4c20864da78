"""The rules of access in ids, and which models of the store leave the host.

Owns when names are looked up: in a thread, whenever the file changed, and once a minute, because
accounts come and go; only a new file is waited for, since a name service may take its time. Decides
nothing: `core/access.py` does.
"""

from __future__ import annotations

import asyncio
import json
import os
import time
from collections.abc import Callable
from dataclasses import replace

import structlog

from paddock.core.access import ROOT_UID, Access, Grant, Policy
from paddock.core.desired import Desired
from paddock.core.digest import Digest
from paddock.core.names import Name
from paddock.edges.accounts import group_id, user_id
from paddock.edges.store import Store
from paddock.errors import PaddockError

FRESH_S = 60.0

log = structlog.get_logger()


class Rules:
    """The policy of the file as it is now."""

    def __init__(
        self, desired: Callable[[], Desired], store: Store, *, allow_undeclared: bool
    ) -> None:
        self._desired = desired
        self._store = store
        self._allow_undeclared = allow_undeclared
        self._policy = Policy()
        self._made_of: Desired | None = None
        self._made_at_s = 0.0
        self._renewal: asyncio.Future[Policy] | None = None
        self._configs: dict[Digest, bool] = {}
        self._look: asyncio.Future[frozenset[Name]] | None = None

    def current(self) -> Policy | None:
        """The policy, where it is that of the present file; looked up anew beside that once it is
        no longer fresh."""
        if self._made_of is not self._desired():
            return None
        if time.monotonic() - self._made_at_s >= FRESH_S and self._renewal is None:
            self._renewal = asyncio.ensure_future(self._renew())
        return self._policy

    async def policy(self) -> Policy:
        """The policy of the present file; looks names up where that was not done yet."""
        return self.current() or await self._renew()

    async def _renew(self) -> Policy:
        try:
            desired, began_s = self._desired(), time.monotonic()
            policy = await asyncio.to_thread(self._make, desired)
            self._policy, self._made_of, self._made_at_s = policy, desired, began_s
            return policy
        finally:
            self._renewal = None

    async def with_remote(self) -> Policy:
        """The policy, and the models that are in the store now but run elsewhere."""
        policy = await self.policy()
        return replace(policy, remote=await self._remote_now())

    async def _remote_now(self) -> frozenset[Name]:
        """One look at a time: who comes while one is under way shares the next with all who do."""
        under_way = self._look
        if under_way is not None:
            await asyncio.wait({under_way})
        if self._look is under_way:
            self._look = asyncio.ensure_future(asyncio.to_thread(self._remote))
        assert self._look is not None
        return await asyncio.shield(self._look)

    def _make(self, desired: Desired) -> Policy:
        grants = {
            name.folded: None if model.access is None else _grant(name, model.access)
            for name, model in desired.models.items()
        }
        always = frozenset({ROOT_UID, os.geteuid()})
        return Policy(grants, always, allow_undeclared=self._allow_undeclared)

    def _remote(self) -> frozenset[Name]:
        try:
            manifests = self._store.manifests()
        except PaddockError:
            return frozenset()
        found = ((name, file.manifest) for name, file in manifests.items())
        return frozenset(
            name.folded
            for name, manifest in found
            if manifest is not None
            and manifest.config is not None
            and self._is_remote(manifest.config.digest)
        )

    def _is_remote(self, config: Digest) -> bool:
        """A config with a remote host makes its model a stub (`ollama:server/routes.go`)."""
        if config not in self._configs:
            try:
                fields = json.loads(self._store.read_blob(config))
            except (PaddockError, ValueError):
                return False
            self._configs[config] = isinstance(fields, dict) and any(
                fields.get(key) for key in ("remote_host", "remote_model")
            )
        return self._configs[config]


def _grant(name: Name, access: Access) -> Grant:
    for kind, names, lookup in (
        ("user", access.users, user_id),
        ("group", access.groups, group_id),
    ):
        unknown = [text for text in names if not text.isdecimal() and lookup(text) is None]
        if unknown:
            log.debug("access names nobody", model=str(name), kind=kind, names=unknown)
    return Grant.of(access, user_id=user_id, group_id=group_id)
