"""Reading the models folder: blobs, manifests, and where they lie.

Here alone a digest or a name becomes a path, and both are validated before. Reading needs no right
to write; what is no blob or no manifest is passed over as Ollama does.
"""

from __future__ import annotations

import contextlib
import os
import stat
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
from paddock.edges.store.files import files_at_depth, read_file, scan
from paddock.errors import InvalidDigest, InvalidManifest, InvalidName, StoreError, shown, words

STATE_DIR = ".paddock"
_BLOB_PREFIX = "sha256-"
_SMALL_BLOB_BYTES = 64 << 20

_Signature = tuple[int, int, int, int]

# As `manifest_bytes` reads one that cannot be read.
_UNREADABLE = ManifestFile(digest_of(b""), frozenset(), None)


class StoreReader:
    """One models folder (`OLLAMA_MODELS`). Reading needs no right to write."""

    def __init__(self, root: Path):
        self.root = root
        self.blobs_dir = root / "blobs"
        self.manifests_dir = root / "manifests"
        self.state_dir = root / STATE_DIR
        self._manifest_cache: dict[Path, tuple[_Signature, ManifestFile]] = {}
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

    def blobs(self) -> dict[Digest, Blob]:
        """Every blob by digest; what is no blob is passed over, as Ollama does."""
        found: dict[Digest, Blob] = {}
        for entry in scan(self.blobs_dir):
            with contextlib.suppress(InvalidDigest, FileNotFoundError):
                digest = parse_digest(entry.name)
                blob = _blob(entry)
                if blob is not None and entry.name == _file_name(digest):
                    found[digest] = blob
        return found

    def manifests(self) -> dict[Name, ManifestFile]:
        """Every manifest by name; one that Ollama could not list has `manifest` None."""
        found: dict[Name, ManifestFile] = {}
        for path in files_at_depth(self.manifests_dir, 4):
            with contextlib.suppress(InvalidName, FileNotFoundError, IsADirectoryError):
                name = Name.from_parts(*path.relative_to(self.manifests_dir).parts)
                found[name] = self._manifest(path)
        return found

    def _manifest(self, path: Path) -> ManifestFile:
        try:
            signature = _signature(path)
        except OSError as error:
            if isinstance(error, FileNotFoundError) and not path.is_symlink():
                raise  # removed just now
            # ollama:manifest/manifest.go Manifests gives up at the first one that it cannot stat.
            what = f"the manifest {shown(str(path))} cannot be reached: {words(error)}"
            hint = "Ollama serves no model while it is there; remove it"
            raise StoreError(f"{what}; {hint}", reason="StoreBroken") from error
        cached = self._manifest_cache.get(path)
        if cached is None or cached[0] != signature:
            cached = self._manifest_cache[path] = (signature, _read_manifest(path))
        return self._with_config(cached[1])

    def _with_config(self, found: ManifestFile) -> ManifestFile:
        """Ollama passes over a model whose config it cannot decode, as if it had no manifest."""
        config = None if found.manifest is None else found.manifest.config
        if config is None or self._is_config(config.digest):
            return found
        return replace(found, manifest=None)

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


def _blob(entry: os.DirEntry[str]) -> Blob | None:
    if not entry.is_symlink():
        is_regular = entry.is_file(follow_symlinks=False)
        return RegularBlob(entry.stat(follow_symlinks=False).st_size) if is_regular else None
    target = str(Path(entry.path).readlink())
    try:
        is_file = stat.S_ISREG(entry.stat().st_mode)
    except OSError:
        is_file = False
    return LinkBlob(target, is_file and os.access(entry.path, os.R_OK))


def _signature(path: Path) -> _Signature:
    found = path.stat()
    return found.st_ino, found.st_size, found.st_mtime_ns, found.st_ctime_ns


def _read_manifest(path: Path) -> ManifestFile:
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
