"""A world in memory: Ollama, its store, files and a ledger, as far as a plan can see and change.

Pure, for tests of the planner: `observe` gives what `engine/observe.py` would, `apply` does to the
world what `engine/` and Ollama would do for one action, and asserts what they rely on. Contents are
letters: a GGUF that holds `A` has the digest `gguf("A")`.
"""

from __future__ import annotations

import copy
import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime, timedelta
from typing import Any

from forests import Forest
from paddock.core.check_plan import check_plan
from paddock.core.desired import Desired, Overrides
from paddock.core.desired import File as Declared
from paddock.core.digest import Digest, digest_of
from paddock.core.files import claim_of, further_parts, trusted
from paddock.core.gguf import Facts
from paddock.core.hub import OWN_CACHE, Chosen, HubFile, HubFound, choose, not_one
from paddock.core.locate import hub_files, locate
from paddock.core.manifest import (
    CONFIG_TYPE,
    LICENSE_TYPE,
    MESSAGES_TYPE,
    MODEL_TYPE,
    PARAMS_TYPE,
    SYSTEM_TYPE,
    TEMPLATE_TYPE,
    Descriptor,
    Manifest,
    manifest_digests,
    parse_manifest,
)
from paddock.core.names import Name
from paddock.core.observed import (
    Blob,
    FileStat,
    HubFact,
    Ledger,
    LinkBlob,
    ManifestFile,
    Memory,
    Observed,
    Owned,
    ProbeAnswer,
    Proof,
    Pulled,
    RegularBlob,
    Running,
    SmallLayer,
    SourceFact,
    SourceFile,
    SourceMissing,
    Tag,
    Unknown,
)
from paddock.core.outcome import Outcome
from paddock.core.ownership import marked
from paddock.core.plan import (
    Action,
    DownloadFile,
    HashSource,
    LoadModel,
    Plan,
    ProbeModel,
    PublishLink,
    PullModel,
    RemoveManifest,
    RemoveScratch,
    SetKeepAlive,
    Subject,
    UnlinkBlob,
    UnloadModel,
    UnpublishLink,
    WriteBlob,
    WriteManifest,
)
from paddock.core.plan import LinkBlob as MakeLink
from paddock.core.planner import make_plan
from paddock.core.remembered import remembered
from paddock.core.residency_memory import learned
from paddock.core.resolve import resolve
from paddock.core.spec_check import read_spec

NOW = datetime(2026, 1, 2, 3, 4, 5, tzinfo=UTC)
STORE_ID = "0123456789abcdef" * 2
KEEP_ALIVE_S = 300.0  # Ollama's own


class RefusedError(Exception):
    """What the engine would have told as a failure of the action."""


def gguf(content: str) -> Digest:
    """The digest of a GGUF that holds `content`."""
    return digest_of(f"gguf {content}".encode())


def size_of(content: str) -> int:
    """The size in bytes of a GGUF that holds `content`: letters alike in number, alike in size."""
    return 1_000_000_000 * len(content)


def facts_of(content: str, **more: Any) -> Facts:
    """The facts of the header of a GGUF that holds `content`."""
    stub = f"stub {content}".encode()
    facts: dict[str, Any] = {
        "kind": "model",
        "byte_order": "little",
        "architecture": "llama",
        "parameter_count": 134_515_008,
        "model_type": "134.52M",
        "file_type": "Q4_1",
        "split_count": None,
        "split_no": None,
        "is_embedding": False,
        "needs_renderer": False,
        "has_chat_template": True,
        "context_length": 8192,
        "embedding_length": 576,
        "stub": stub,
        "stub_digest": digest_of(stub),
        "left_out": (),
    }
    return Facts(**(facts | more))


def desire(models: Mapping[str, Any], **top: Any) -> Desired:
    """What a models.yaml with these models asks for."""
    checked = read_spec({"version": 1, "models": models, **top})
    assert checked.problems == (), checked.problems
    return resolve(checked.spec, "models.yaml")


@dataclass
class File:
    """A source. `version` is its times: any write raises it. `trouble` hides it from a look."""

    content: str
    real_path: str
    version: int = 1
    header: Mapping[str, Any] = field(default_factory=dict)
    problem: Unknown | None = None
    trouble: Unknown | None = None

    @property
    def stat(self) -> FileStat:
        inode = int(digest_of(self.real_path.encode())[7:19], 16)
        return FileStat(1, inode, size_of(self.content), self.version, self.version)


@dataclass
class World:
    """Everything that is there. `contents` are the bytes of small blobs, `headers` those of the
    GGUFs, whoever put them there; `ggufs` what each manifest ever named."""

    files: dict[str, File] = field(default_factory=dict)
    registry: dict[Name, Manifest] = field(default_factory=dict)
    manifests: dict[Name, bytes] = field(default_factory=dict)
    blobs: dict[Digest, RegularBlob | str] = field(default_factory=dict)
    contents: dict[Digest, bytes] = field(default_factory=dict)
    headers: dict[Digest, Facts] = field(default_factory=dict)
    hashed: dict[FileStat, Digest] = field(default_factory=dict)
    probes: dict[Digest, ProbeAnswer] = field(default_factory=dict)
    ledger: Ledger = field(default_factory=lambda: Ledger(store_id=STORE_ID))
    trusting: bool = False
    running: list[Running] = field(default_factory=list)
    room: int = 99  # so many models fit into memory
    ggufs: dict[Digest, Digest] = field(default_factory=dict)
    memory: Memory = field(default_factory=Memory)
    unknown: dict[str, Unknown] = field(default_factory=dict)
    forest: Forest = field(default_factory=Forest)
    hub: dict[HubFile, str] = field(default_factory=dict)
    at: datetime = NOW

    # What others do.

    def put(self, path: str, content: str, real_path: str | None = None, **header: Any) -> None:
        """Write a source, in place where there is one."""
        old = self.files.get(path)
        version = 1 if old is None else old.version + 1
        self.files[path] = File(content, real_path or path, version, header)

    def give(self, content: str, texts: Iterable[SmallLayer] = ()) -> tuple[Descriptor, ...]:
        """Put a GGUF and texts into the store as files of its own; the layers of a manifest."""
        digest = gguf(content)
        self.headers[digest] = facts_of(content)
        if digest not in self.blobs or not self._readable(digest):
            self.blobs[digest] = RegularBlob(size_of(content))
        return Descriptor(MODEL_TYPE, digest, size_of(content)), *map(self.text, texts)

    def text(self, layer: SmallLayer) -> Descriptor:
        """Put a small blob into the store."""
        digest, size = digest_of(layer.content), len(layer.content)
        self.contents[digest] = layer.content
        self.blobs.setdefault(digest, RegularBlob(size))
        return Descriptor(layer.media_type, digest, size)

    def create(self, name: Name, content: str, *texts: SmallLayer) -> None:
        """Somebody runs `ollama create`."""
        layers = self.give(content, texts)
        config = self.text(SmallLayer(CONFIG_TYPE, b'{"model_type":"134.52M"}'))
        self._replace(name, Manifest(config, layers).encode() + b"\n")

    def offer(self, reference: Name, content: str, *texts: SmallLayer) -> None:
        """The registry has a model, from now on."""
        scratch = copy.deepcopy(self)
        layers = scratch.give(content, texts)
        config = scratch.text(SmallLayer(CONFIG_TYPE, b'{"model_type":"3.2B"}'))
        self.contents |= scratch.contents
        self.headers |= scratch.headers
        self.registry[reference] = Manifest(config, layers)

    def pull(self, reference: Name) -> Digest:
        """Ollama pulls: what it has and can read it does not fetch, and it overwrites."""
        if reference not in self.registry:
            raise RefusedError(f"{reference} is not in the registry")
        manifest = self.registry[reference]
        self._replace(reference, manifest.encode())
        for layer in (*manifest.layers, *([manifest.config] if manifest.config else [])):
            if not self._readable(layer.digest):
                self.blobs[layer.digest] = RegularBlob(layer.size_bytes)
        return digest_of(manifest.encode())

    def delete(self, name: Name) -> None:
        """Ollama deletes: the manifest, and each of its blobs that no other one names."""
        self._replace(name, None)

    def prune(self) -> None:
        """Ollama starts, more than an hour later."""
        self.blobs = {d: b for d, b in self.blobs.items() if d in self._named()}
        self.running = []

    def load(self, name: Name, keep_alive_s: float | None) -> None:
        """A request loads or uses a model; None is for ever, 0 unloads."""
        manifest = self.manifest(name)
        digest = None if manifest is None else manifest.model_digest
        if manifest is None or digest is None or not self._readable(digest):
            raise RefusedError(f"{name} cannot be loaded")
        loaded = [r for r in self.running if self.gguf_of(r) == digest]
        running = loaded[0] if loaded else Running(name, self.digest(name), None, 1_000_000_000)
        self.running = [r for r in self.running if r not in loaded]
        expires = None if keep_alive_s is None else self.at + timedelta(seconds=keep_alive_s)
        if keep_alive_s != 0:
            self.running = [*self.running, replace(running, expires_at=expires, alive=True)][
                -self.room :
            ]
        self._remember_ggufs()

    def evict(self) -> None:
        """Everything left memory a while ago: no client is having it loaded at this moment."""
        self.running = []
        self.memory = replace(self.memory, shown={})

    # What is seen.

    def manifest(self, name: Name) -> Manifest | None:
        """The manifest of a name."""
        return parse_manifest(self.manifests[name]) if name in self.manifests else None

    def digest(self, name: Name) -> Digest:
        """The digest of a manifest."""
        return digest_of(self.manifests[name])

    def gguf_of(self, running: Running) -> Digest | None:
        """The GGUF that is really in memory."""
        return self.ggufs.get(running.manifest_digest)

    def locate(self, desired: Desired) -> Desired:
        """What is desired, with files in the place of what a cache of the hub has."""
        return locate(desired, self._hub_facts(desired))

    def observe(self, desired: Desired) -> Observed:
        """One look, as `engine/observe.py` takes it, at what was located."""
        manifests = {name: _manifest_file(data) for name, data in self.manifests.items()}
        parts: dict[str, Any] = {
            "tags": {n: Tag(digest_of(data), 1) for n, data in self.manifests.items()},
            "running": tuple(self.running),
            "manifests": manifests,
            "blobs": {digest: self._blob(digest) for digest in self.blobs},
            "ledger": self.ledger,
        }
        return Observed(
            at=self.at,
            version="0.34.4",
            sources=self._sources(desired),
            facts={d: h for d, h in self.headers.items() if self._readable(d)},
            probes=dict(self.probes),
            memory=self.memory,
            hub=self._hub_facts(desired),
            trees=self.forest.look(desired, manifests, parts["blobs"], self.ledger),
            **(parts | self.unknown),
        )

    def plan(self, desired: Desired) -> Plan:
        """Observe and plan, and hold the plan to its rules."""
        desired = self.locate(desired)
        observed = self.observe(desired)
        plan = make_plan(desired, observed)
        assert check_plan(plan, desired, observed) == []
        return plan

    # What Paddock does.

    def apply(self, plan: Plan, first: int | None = None) -> None:
        """Carry out a plan, or its first actions; every manifest keeps its blobs meanwhile."""
        makes = (WriteBlob, MakeLink, WriteManifest)
        claims = {a.name for a in plan.actions if isinstance(a, makes)}
        claims |= {a.reference for a in plan.actions if isinstance(a, PullModel)}
        owned = {name: Owned() for name in claims} | dict(self.ledger.owned)
        self.ledger = replace(self.ledger, owned=owned)
        failed: set[Subject] = set()
        done: list[Outcome] = []
        for action in plan.actions[:first]:
            if action.subject in failed:
                continue
            lost = self.lost()
            try:
                self.do(action)
                done.append(Outcome(action, "done", 0.0))
            except RefusedError:
                failed.add(action.subject)
            assert self.lost() <= lost, (action, self.lost() - lost)
        self.memory = learned(self.memory, done, plan.made_of)

    def do(self, action: Action) -> None:  # noqa: C901, PLR0912, PLR0915  an arm an action
        """Carry out one action."""
        match action:
            case PullModel():
                offered = self.registry.get(action.reference)
                if action.digest and (not offered or digest_of(offered.encode()) != action.digest):
                    raise RefusedError("DigestMismatch")
                came = Pulled(self.pull(action.reference), self.registry[action.reference])
                self._note(pulled={**self.ledger.pulled, action.reference: came})
            case DownloadFile():
                self._download(action)
            case HashSource():
                file = self.files.get(action.path)
                if file is None or file.stat != action.stat:
                    raise RefusedError("SourceChanging")
                self.hashed[file.stat] = gguf(file.content)
            case ProbeModel():
                self.probes[action.key] = self._answer(action)
            case WriteBlob():
                assert digest_of(action.content) == action.digest
                self._note(blobs={action.digest: action.name, **self.ledger.blobs})
                self.contents[action.digest] = action.content
                self.blobs[action.digest] = RegularBlob(len(action.content))
            case MakeLink():
                self._link(action)
            case UnloadModel():
                self._unload(action)
            case WriteManifest():
                self._publish(action)
            case LoadModel():
                self.load(action.name, _seconds(action.keep_alive))
            case SetKeepAlive():
                assert self._gguf(action.running) == self._gguf(action.name)
                assert self._gguf(action.name) in map(self.gguf_of, self.running)
                self.load(action.name, _seconds(action.keep_alive))
            case RemoveManifest():
                assert self.digest(action.name) == action.digest
                self.delete(action.name)
                if action.until_back:
                    self._note(withdrawn=self.ledger.withdrawn | {action.name})
                owned = {n: o for n, o in self.ledger.owned.items() if n != action.name}
                pulled = {n: p for n, p in self.ledger.pulled.items() if n != action.name}
                self._note(owned=owned, pulled=pulled)
            case UnlinkBlob():
                assert action.digest not in self._named()
                self.blobs.pop(action.digest, None)
                blobs = {d: n for d, n in self.ledger.blobs.items() if d != action.digest}
                self._note(blobs=blobs)
            case RemoveScratch():
                self.delete(action.name)
                self._note(scratch=self.ledger.scratch - {action.name})
            case PublishLink():
                self.ledger = self.forest.publish(action, self.ledger)
            case UnpublishLink():
                self.ledger = self.forest.unpublish(action, self.ledger)

    def look(self, desired: Desired, plan: Plan) -> None:
        """Remember what a poll has seen."""
        self.memory = remembered(self.observe(desired), plan)

    def converge(self, desired: Desired) -> Plan:
        """Observe, plan and apply until nothing is left to do; the last plan."""
        for _ in range(8 + desired.depth):
            plan = self.plan(desired)
            self.look(desired, plan)
            if not plan.actions:
                return plan
            before = copy.deepcopy(self)
            self.apply(plan)
            if self == before:
                return plan
        raise AssertionError([str(action) for action in plan.actions])

    def lost(self) -> set[tuple[Name, Digest]]:
        """The blobs that manifests lack."""
        found = {name: _manifest_file(data).manifest for name, data in self.manifests.items()}
        needed = {(name, d) for name, m in found.items() if m for d in m.digests}
        return {(name, digest) for name, digest in needed if not self._readable(digest)}

    def _note(self, **changes: Any) -> None:
        self.ledger = replace(self.ledger, **changes)

    def _remember_ggufs(self) -> None:
        """A runner keeps its GGUF, whatever becomes of the manifest that it was loaded by."""
        for data in self.manifests.values():
            found = _manifest_file(data).manifest
            if found is not None and found.model_digest is not None:
                self.ggufs |= dict.fromkeys(manifest_digests(data), found.model_digest)

    def _gguf(self, name: Name) -> Digest | None:
        found = self.manifest(name)
        return None if found is None else found.model_digest

    def _replace(self, name: Name, data: bytes | None) -> None:
        self._remember_ggufs()
        old = _manifest_file(self.manifests[name]).manifest if name in self.manifests else None
        self.manifests.pop(name, None)
        if data is not None:
            self.manifests[name] = data
        gone = (old.digests if old else frozenset()) - self._named()
        self.blobs = {digest: blob for digest, blob in self.blobs.items() if digest not in gone}

    def _named(self) -> set[Digest]:
        found = [_manifest_file(data).manifest for data in self.manifests.values()]
        return {digest for manifest in found if manifest for digest in manifest.digests}

    def _readable(self, digest: Digest) -> bool:
        blob = self.blobs.get(digest)
        return isinstance(blob, RegularBlob) or (isinstance(blob, str) and self._is_file(blob))

    def _is_file(self, target: str) -> bool:
        return any(file.real_path == target for file in self.files.values())

    def _blob(self, digest: Digest) -> Blob:
        blob = self.blobs[digest]
        return LinkBlob(blob, self._is_file(blob)) if isinstance(blob, str) else blob

    def _sources(self, desired: Desired) -> dict[str, SourceFact]:
        found: dict[str, SourceFact] = {}
        for path, files in desired.files.items():
            found[path] = fact = self._source(path, files)
            found |= {part: self._source(part, files) for part in further_parts(path, fact)}
        return found

    def _source(self, path: str, declared: Sequence[Declared] = ()) -> SourceFact:
        file = self.files.get(path)
        if file is None:
            return SourceMissing(f"{path} does not exist")
        if file.trouble is not None:
            return file.trouble
        digest, claim = self.hashed.get(file.stat), claim_of(file.real_path)
        proof: Proof = "claimed" if digest is None else "hashed"
        found = None if file.problem else facts_of(file.content, **file.header)
        digest = digest or trusted(declared, claim)
        return SourceFile(file.real_path, file.stat, digest, found, file.problem, proof, claim)

    def _hub_facts(self, desired: Desired) -> dict[HubFile, HubFact]:
        return {file: self._in_cache(file) for file in hub_files(desired)}

    def _in_cache(self, wanted: HubFile) -> HubFact:
        """The one cache there is has a repository's files below `/hub/ORG/REPO/`."""
        folder = f"/hub/{wanted.repo}/"
        names = [path.removeprefix(folder) for path in self.files if path.startswith(folder)]
        choice = choose(wanted.pattern, names)
        if isinstance(choice, Chosen):
            return HubFound(folder + choice.first)
        message = not_one(wanted, choice, "in the local cache")
        return Unknown("SourceAmbiguous", message) if choice.several else SourceMissing(message)

    def _download(self, action: DownloadFile) -> None:
        """What came has been hashed as well."""
        for wanted in action.files:
            offered = {f.pattern: c for f, c in self.hub.items() if f.repo == wanted.repo}
            choice = choose(wanted.pattern, offered)
            if not isinstance(choice, Chosen):
                raise RefusedError("NotInHub")
            path = f"/hub/{wanted.repo}/{choice.first}"
            self.put(path, offered[choice.first], f"/models{OWN_CACHE}{offered[choice.first]}")
            self.hashed[self.files[path].stat] = gguf(offered[choice.first])

    def _link(self, action: MakeLink) -> None:
        file = next((f for f in self.files.values() if f.real_path == action.target), None)
        if file is None or file.stat != action.stat:
            raise RefusedError("SourceChanging")
        assert self.trusting or gguf(file.content) == action.digest
        owned = {**self.ledger.owned, action.name: self._owned(action)}
        self._claimed(action.name)
        self._note(owned=owned, blobs={action.digest: action.name, **self.ledger.blobs})
        self.headers[action.digest] = facts_of(file.content, **file.header)
        self.blobs[action.digest] = action.target

    def _unload(self, action: UnloadModel) -> None:
        """Ollama reaches a runner by a name that has its GGUF now; for a stale one it is made."""
        left = [r for r in self.running if r.manifest_digest == action.manifest_digest]
        by_name = action.model_digest if action.reason == "Stale" else self._gguf(action.running)
        assert all(self.gguf_of(runner) == by_name for runner in left)
        self.running = [r for r in self.running if r not in left]

    def _publish(self, action: WriteManifest) -> None:
        present = self.digest(action.name) if action.name in self.manifests else None
        assert present == action.replaces
        if not all(map(self._readable, action.needs)):
            raise RefusedError("BlobsMissing")
        self._remember_ggufs()
        self.manifests[action.name] = action.content
        runners = dict(self.ledger.runners)
        if action.model_digest is not None:
            runners[action.digest] = action.model_digest
        owned = {**self.ledger.owned, action.name: self._owned(action)}
        self._claimed(action.name)
        self._note(owned=owned, runners=runners)

    def _owned(self, action: MakeLink | WriteManifest) -> Owned:
        """What is made where there was nothing is ours without a doubt."""
        is_new = isinstance(action, WriteManifest) and action.replaces is None
        known = Owned() if is_new else self.ledger.owned.get(action.name, Owned())
        return replace(known, generation=action.generation)

    def lose_ledger(self, store_id: str = STORE_ID) -> None:
        """The ledger is lost, and learnt anew from the manifests; with another id from none."""
        found = marked(self.observe(desire({})).manifests, store_id)  # type: ignore[arg-type]
        owned = {name: Owned(manifest.generation, rebuilt=True) for name, manifest in found.items()}
        blobs = {digest: name for name, m in found.items() for digest in m.digests}
        self.ledger = Ledger(store_id=store_id, owned=owned, blobs=blobs)

    def _claimed(self, name: Name) -> None:
        self._note(withdrawn=self.ledger.withdrawn - {name})

    def _answer(self, action: ProbeModel) -> ProbeAnswer:
        """What Ollama would say: the base's texts, or those of the header, under the overrides."""
        config, layers = {"model_family": "llama", "model_type": "32"}, dict[str, list[bytes]]()
        if action.base is None:
            layers[TEMPLATE_TYPE] = [b"template of " + action.stubs[0].content]
        else:
            for part in action.base.texts:
                content = part.content or self.contents[part.descriptor.digest]
                layers.setdefault(part.descriptor.media_type, []).append(content)
            if action.base.config is not None:
                config["base"] = action.base.config.descriptor.digest
        _override(layers, action.overrides)
        small = [SmallLayer(kind, text) for kind, texts in layers.items() for text in texts]
        parts = sum(stub.file.startswith("model") for stub in action.stubs)
        return ProbeAnswer(json.dumps(config).encode(), tuple(small), parts)


def _override(layers: dict[str, list[bytes]], say: Overrides) -> None:
    if say.template is not None:
        layers[TEMPLATE_TYPE] = [say.template.encode()]
    if say.system is not None:
        layers[SYSTEM_TYPE] = [say.system.encode()]
    if say.parameters:
        base = json.loads(layers[PARAMS_TYPE][0]) if PARAMS_TYPE in layers else {}
        layers[PARAMS_TYPE] = [json.dumps(base | dict(say.parameters), sort_keys=True).encode()]
    if say.messages:
        layers[MESSAGES_TYPE] = [json.dumps([[m.role, m.content] for m in say.messages]).encode()]
    if say.license:
        layers[LICENSE_TYPE] = layers.get(LICENSE_TYPE, []) + [t.encode() for t in say.license]


def _manifest_file(data: bytes) -> ManifestFile:
    try:
        manifest = parse_manifest(data)
    except Exception:  # noqa: BLE001  whatever is wrong with it, it does not parse
        manifest = None
    return ManifestFile(digest_of(data), manifest_digests(data), manifest)


def _seconds(keep_alive: float | None) -> float | None:
    if keep_alive is None:
        return KEEP_ALIVE_S
    return None if keep_alive < 0 else keep_alive
