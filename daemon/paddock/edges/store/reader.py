"""Reading the models folder: blobs, manifests, and where they lie.

Here alone a digest or a name becomes a path, and both are validated before. Reading needs no right
to write; what is no blob or no manifest is passed over as Ollama does.
"""

from __future__ import annotations

import contextlib
import functools
import os
import stat
from collections.abc import Callable, Container
from dataclasses import replace
from pathlib import Path

from paddock.core.config_blob import MAX_CONFIG_BYTES, is_config
from paddock.core.digest import Digest, digest_of, parse_digest
from paddock.core.manifest import (
    MAX_MANIFEST_BYTES,
    Manifest,
    manifest_digests,
    parse_manifest,
)
from paddock.core.names import Name
from paddock.core.observed import Blob, LinkBlob, ManifestFile, RegularBlob
from paddock.edges.store.files import read_file, scan
from paddock.edges.store.listing import Listing
from paddock.errors import InvalidDigest, InvalidManifest, InvalidName, StoreError, shown, words

STATE_DIR = ".paddock"
_BLOB_PREFIX = "sha256-"
_SMALL_BLOB_BYTES = 64 << 20

_Signature = tuple[int, int, int, int]
_Named = tuple[Name, ManifestFile]
_Cached = tuple[_Signature, _Named]

# As `manifest_bytes` reads one that cannot be read.
_UNREADABLE = ManifestFile(digest_of(b""), frozenset(), None)


class StoreReader:
    """One models folder (`OLLAMA_MODELS`). Reading needs no right to write."""

    def __init__(self, root: Path):
        self.root = root
        self.blobs_dir = root / "blobs"
        self.manifests_dir = root / "manifests"
        self.state_dir = root / STATE_DIR
        self._listing = Listing(self.manifests_dir, depth=4)
        self._manifest_cache: dict[str, _Cached] = {}
        self._last_named: list[_Named] = []
        self._last_manifests: dict[Name, ManifestFile] = {}
        self._config_cache: dict[Digest, tuple[_Signature, bool]] = {}

    def blob_path(self, digest: Digest) -> Path:
        """Where a blob lies. Raises InvalidDigest."""
        return self.blobs_dir / _file_name(parse_digest(digest))

    def manifest_path(self, name: Name) -> Path:
        """Where the manifest of a name lies; a Name has no part that could traverse."""
        return self.manifests_dir.joinpath(*name.parts)

    def check_exists(self) -> None:
        """Raise StoreError where there is no models folder."""
        if not self.root.is_dir():
            is_other = self.root.exists()
            what = f"the models folder {self.root} {'is a file' if is_other else 'does not exist'}"
            hint = "set --models-dir" if is_other else "start Ollama once, or set --models-dir"
            raise StoreError(f"{what}; {hint}", reason="StoreMissing")

    def blobs(
        self, can_read: Callable[[str], bool] | None = None, readable: Container[str] = ()
    ) -> dict[Digest, Blob]:
        """Every blob by digest; what is no blob is passed over, as Ollama does. `can_read` judges a
        link: a look at what it leads to may hang; those to what is known to be `readable` are."""
        found: dict[Digest, Blob] = {}
        passing_over = contextlib.suppress(InvalidDigest, FileNotFoundError)
        for entry in scan(self.blobs_dir):
            with passing_over:
                digest = _digest_named(entry.name)
                blob = _blob(entry, can_read or is_readable, readable)
                if blob is not None:
                    found[digest] = blob
        return found

    def manifests(self) -> dict[Name, ManifestFile]:
        """Every manifest by name; one that Ollama could not list has `manifest` None. The same
        store gives the same object: who derives much of it need not do so again."""
        named: list[_Named] = []
        fits: dict[Digest, bool] = {}
        passing_over = contextlib.suppress(InvalidName, FileNotFoundError, IsADirectoryError)
        before, self._manifest_cache = self._manifest_cache, {}
        for path in self._listing.paths():
            with passing_over:
                named.append(self._with_config(self._manifest(path, before.get(path)), fits))
        if named != self._last_named:
            found = dict(named)
            if found != self._last_manifests:
                self._last_manifests = found
            self._last_named = named
        return self._last_manifests

    def _manifest(self, path: str, cached: _Cached | None) -> _Named:
        name = _name(path) if cached is None else cached[1][0]
        try:
            signature = _signature(path)
        except OSError as error:
            if isinstance(error, FileNotFoundError) and not Path(path).is_symlink():
                raise  # removed just now
            # ollama:manifest/manifest.go Manifests gives up at the first one that it cannot stat.
            what = f"the manifest {shown(path)} cannot be reached: {words(error)}"
            hint = "Ollama serves no model while it is there; remove it"
            raise StoreError(f"{what}; {hint}", reason="StoreBroken") from error
        if cached is None or cached[0] != signature:
            cached = signature, (name, _read_manifest(path))
        self._manifest_cache[path] = cached
        return cached[1]

    def _with_config(self, named: _Named, fits: dict[Digest, bool]) -> _Named:
        """Ollama passes over a model whose config it cannot decode, as if it had no manifest; many
        have the same one, which is looked at once."""
        name, found = named
        config = None if found.manifest is None else found.manifest.config
        if config is None:
            return named
        if config.digest not in fits:
            fits[config.digest] = self._is_config(config.digest)
        return named if fits[config.digest] else (name, replace(found, manifest=None))

    def _is_config(self, digest: Digest) -> bool:
        """Whether a blob that is there can be a config; one that is missing is told elsewhere."""
        path = self.blob_path(digest)
        try:
            signature = _signature(path)
            cached = self._config_cache.get(digest)
            if cached is None or cached[0] != signature:
                fits = is_config(read_file(path, MAX_CONFIG_BYTES + 1))
                cached = self._config_cache[digest] = (signature, fits)
        except FileNotFoundError:
            return True
        except OSError:
            return False
        return cached[1]

    def manifest_digest(self, name: Name) -> Digest | None:
        """The digest of a manifest file as it is now; None where there is none."""
        content = self.manifest_bytes(name)
        return None if content is None else digest_of(content)

    def manifest_bytes(self, name: Name) -> bytes | None:
        """A manifest file as it is now; None where there is none."""
        try:
            return read_file(self.manifest_path(name), MAX_MANIFEST_BYTES + 1)
        except (FileNotFoundError, NotADirectoryError, IsADirectoryError):
            return None
        except OSError:
            return b""

    def read_manifest(self, name: Name) -> Manifest:
        """The manifest of a name. Raises StoreError where there is none that parses."""
        try:
            return parse_manifest(read_file(self.manifest_path(name), MAX_MANIFEST_BYTES + 1))
        except (OSError, InvalidManifest) as error:
            what = f"cannot read the manifest of {name}: {words(error)}"
            raise StoreError(what, reason="ManifestUnreadable") from error

    def read_blob(self, digest: Digest) -> bytes:
        """The bytes of a small blob (64 MiB at most). Raises StoreError."""
        path = self.blob_path(digest)
        try:
            content = read_file(path, _SMALL_BLOB_BYTES + 1)
        except OSError as error:
            raise StoreError(f"cannot read {path}: {words(error)}", reason="BlobMissing") from error
        if len(content) > _SMALL_BLOB_BYTES:
            raise StoreError(f"{path} is too large for a text layer", reason="BlobTooLarge")
        return content

    def has_blob(self, digest: Digest) -> bool:
        """Whether a blob (or what its link points to) is there."""
        try:
            return stat.S_ISREG(self.blob_path(digest).stat().st_mode)
        except OSError:
            return False


def _file_name(digest: Digest) -> str:
    return _BLOB_PREFIX + digest.removeprefix("sha256:")


@functools.lru_cache(maxsize=1 << 16)
def _digest_named(file_name: str) -> Digest:
    """The digest that a blob's file name spells, in this one way. Raises InvalidDigest."""
    digest = parse_digest(file_name.replace("-", ":", 1))
    if _file_name(digest) != file_name:
        raise InvalidDigest(f"{file_name} is not the name of a blob")
    return digest


def _blob(
    entry: os.DirEntry[str], can_read: Callable[[str], bool], readable: Container[str]
) -> Blob | None:
    if not entry.is_symlink():
        is_regular = entry.is_file(follow_symlinks=False)
        return RegularBlob(entry.stat(follow_symlinks=False).st_size) if is_regular else None
    target = os.readlink(entry.path)  # noqa: PTH115
    return LinkBlob(target, target in readable or can_read(entry.path))


def is_readable(path: str) -> bool:
    """Whether a path leads to a file that may be read."""
    try:
        return stat.S_ISREG(Path(path).stat().st_mode) and os.access(path, os.R_OK)
    except OSError:
        return False


def _name(path: str) -> Name:
    return Name.from_parts(*path.split("/")[-4:])


def _signature(path: str | Path) -> _Signature:
    found = os.stat(path)  # noqa: PTH116
    return found.st_ino, found.st_size, found.st_mtime_ns, found.st_ctime_ns


def _read_manifest(path: str) -> ManifestFile:
    try:
        data = read_file(path, MAX_MANIFEST_BYTES + 1)
    except (FileNotFoundError, IsADirectoryError):
        raise
    except OSError:
        return _UNREADABLE
    try:
        manifest = parse_manifest(data)
    except InvalidManifest:
        manifest = None
    return ManifestFile(digest_of(data), manifest_digests(data), manifest)
