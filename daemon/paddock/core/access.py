"""Access: who may use a model through the socket.

Pure. A rule holds names as models.yaml wrote them; a grant holds the ids that the host's name
service gave for them, and judges a peer. What grants leave open, `Policy` decides: models that
nobody declared, and models whose requests leave the host.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import TypeAlias

from paddock.core.names import Name
from paddock.errors import InvalidName

ROOT_UID = 0

# Gives the id of a name, or None where no account has it.
Lookup: TypeAlias = Callable[[str], int | None]
# Says whether a model exists for one peer, by its name as a request or a list holds it.
Sees: TypeAlias = Callable[[str], bool]


@dataclass(frozen=True, slots=True)
class Access:
    """A rule of models.yaml: names or numeric ids. With neither, nobody but root has access."""

    users: tuple[str, ...] = ()
    groups: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Peer:
    """The other end of a connection, as the kernel knows it; `gids` holds all of its groups."""

    uid: int
    gids: frozenset[int] = frozenset()


@dataclass(frozen=True, slots=True)
class Grant:
    """A rule in ids. A name that no account has grants nothing."""

    uids: frozenset[int] = frozenset()
    gids: frozenset[int] = frozenset()

    @classmethod
    def of(cls, access: Access, *, user_id: Lookup, group_id: Lookup) -> Grant:
        """Looks the names of a rule up."""
        return cls(_ids(access.users, user_id), _ids(access.groups, group_id))

    def allows(self, peer: Peer) -> bool:
        """Whether a peer is named, or is in a group that is."""
        return peer.uid in self.uids or not self.gids.isdisjoint(peer.gids)


def _ids(names: tuple[str, ...], lookup: Lookup) -> frozenset[int]:
    found = (int(name) if name.isdecimal() else lookup(name) for name in names)
    return frozenset(number for number in found if number is not None)


@dataclass(frozen=True, slots=True)
class Policy:
    """What holds for all models: the grant of each declared one by its folded name (None: no rule),
    who passes every rule (`always`: root, the daemon's own uid), and which names, folded, stand for
    models elsewhere (`remote`)."""

    grants: Mapping[Name, Grant | None] = field(default_factory=dict)
    always: frozenset[int] = frozenset({ROOT_UID})
    allow_undeclared: bool = True
    remote: frozenset[Name] = frozenset()

    @property
    def is_open(self) -> bool:
        """Whether no rule holds anybody back from a model of this host."""
        return self.allow_undeclared and not any(self.grants.values())

    def sees(self, peer: Peer | None, name: Name, *, remote: bool = False) -> bool:
        """Whether a model exists for a peer; `remote` says that its requests leave the host.

        Remote models need to be declared, whoever asks: that is about where words go.
        """
        folded = name.folded
        declared = folded in self.grants
        leaves = remote or name.is_cloud or folded in self.remote
        if leaves and not declared:
            return False
        if peer is not None and peer.uid in self.always:
            return True
        if not declared:
            return self.allow_undeclared
        grant = self.grants[folded]
        return grant is None or (peer is not None and grant.allows(peer))

    def sees_text(self, peer: Peer | None, text: str) -> bool:
        """Whether the model of a request exists for a peer, named as Ollama would read it.

        What is no name exists for nobody once there is a rule: no second spelling walks past it.
        """
        try:
            name = Name.parse_request(text)
        except InvalidName:
            return self.is_open or (peer is not None and peer.uid in self.always)
        return self.sees(peer, name)

    def sees_listed(self, peer: Peer | None, text: str, *, remote: bool = False) -> bool:
        """Whether a model of one of Ollama's lists exists for a peer."""
        try:
            name = Name.parse_api(text)
        except InvalidName:
            return self.is_open
        return self.sees(peer, name, remote=remote)
