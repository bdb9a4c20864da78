"""Loading: from a path to a spec, or to every problem with its place.

Owns the order of the checks (bytes, YAML, keys and values, between models, templates), the merging
of a folder's files, and the translation of a path of keys to file, line and column. Each step goes
on past what the last one found, so that one run reports all.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from datetime import tzinfo
from functools import partial
from pathlib import Path
from typing import TypeVar

from paddock.core.digest import Digest
from paddock.core.modelfile import read_modelfile
from paddock.core.modelfile_syntax import ModelfileError
from paddock.core.spec import VERSION, Defaults, DiscoverSpec, ModelSpec, Spec
from paddock.core.spec_check import cross_check, discover_problems, read_spec
from paddock.core.spec_merge import over_modelfile
from paddock.core.spec_problems import Loc, Problem, missing, where
from paddock.core.spec_residency_check import doubts
from paddock.core.spec_sources import GgufSource, ModelfileSource
from paddock.edges.specfile.files import (
    MAX_MODELFILE_BYTES,
    MAX_SPEC_BYTES,
    MAX_TEMPLATE_BYTES,
    FileProblem,
    absolute,
    read_regular,
    spec_files,
    template_text,
)
from paddock.edges.specfile.loaded import LoadedSpec
from paddock.edges.specfile.modelfiles import source_of
from paddock.edges.specfile.nodes import Node, read_nodes
from paddock.edges.specfile.paths import with_paths, with_tree_path
from paddock.edges.specfile.places import colon, find, locate, told
from paddock.edges.specfile.zones import zone_of
from paddock.errors import Diagnostic, SpecError

_Settings = TypeVar("_Settings", bound=Defaults)

# One file of a folder may hold each of these, and it holds for all.
_ONCE = ("defaults", "prune", "residency")


def load_spec(
    path: Path,
    env: Mapping[str, str],
    *,
    home: Path | None = None,
    instead: Mapping[Path, bytes] | None = None,
) -> LoadedSpec:
    """Reads models.yaml, or a folder of such files; `instead` are bytes to take for a file's own,
    there or not yet. Raises SpecError with every problem in it."""
    return _Loader(path, env, home or Path.home(), instead or {}).load()


@dataclass(slots=True)
class _Document:
    """One file: its tree, and the spec that it holds by itself."""

    path: Path
    root: Node
    spec: Spec


@dataclass(slots=True)
class _Loader:
    """One load: collects diagnostics, the files read, and which file declares what."""

    path: Path
    env: Mapping[str, str]
    home: Path
    instead: Mapping[Path, bytes]
    diagnostics: list[Diagnostic] = field(default_factory=list)
    read: dict[Path, bytes] = field(default_factory=dict)
    owners: dict[Loc, _Document] = field(default_factory=dict)
    documents: list[_Document] = field(default_factory=list)
    modelfiles: set[str] = field(default_factory=set)

    def load(self) -> LoadedSpec:
        for file in self._files():
            self._read_document(file)
        if self.documents and not self.diagnostics:
            self._require_models()
        spec = self._with_modelfiles(self._merged())
        for problem in cross_check(spec):
            self._report(self._as_written(problem), self._owner(problem.loc))
        zone = self._zone(spec)
        spec = self._with_files(spec)
        if self.diagnostics or zone is None:
            raise SpecError(tuple(dict.fromkeys(self.diagnostics)))
        for problem in doubts(spec):
            self._report(problem, self._owner(problem.loc))
        base_dirs = {name: _base_dir(self.owners["models", name]) for name in spec.models}
        files, warnings = tuple(self.read), tuple(sorted(self.diagnostics))
        return LoadedSpec(spec, self.path, files, base_dirs, self._digest(), zone, warnings)

    def _zone(self, spec: Spec) -> tzinfo | None:
        named = None if spec.residency is None else spec.residency.timezone
        zone = zone_of(named, self.env)
        if isinstance(zone, Problem):
            self._report(zone, self._owner(zone.loc))
            return None
        return zone

    def _files(self) -> list[Path]:
        try:
            return sorted({*spec_files(self.path), *self.instead})
        except FileProblem as error:
            self._report_file(self.path, error)
            return []

    def _read_document(self, file: Path) -> None:
        try:
            given = self.instead.get(file)
            data = read_regular(file, MAX_SPEC_BYTES) if given is None else given
            self.read[file] = data
        except FileProblem as error:
            self._report_file(file, error)
            return
        root, faults = read_nodes(data, self.env)
        for fault in faults:
            self._add(file, (fault.line, fault.column), fault.where, fault.what, fault.hint)
        if root is None:
            return
        checked = read_spec(root.value)
        document = _Document(file, root, checked.spec)
        self.documents.append(document)
        self._claim(document)
        for problem in checked.problems:
            self._report(problem, document)

    def _claim(self, document: _Document) -> None:
        """Notes what a file declares; what an earlier file has declared already is a problem."""
        models = document.root.children.get("models")
        locs: list[Loc] = [("models", str(name)) for name in (models.keys if models else ())]
        once = [(key,) for key in _ONCE if key in document.root.keys]
        for loc in (*once, *locs):
            first = self.owners.setdefault(loc, document)
            if first is not document:
                what = f"declared twice, first at {first.path}:{colon(find(first.root, loc))}"
                self._report(Problem(loc, what, "keep one", at_key=True), document)

    def _require_models(self) -> None:
        if any({"models", "discover"} & document.root.keys.keys() for document in self.documents):
            return
        problem = missing(("models",), "models: {} to declare none")
        self._report(problem, self.documents[0])

    def _merged(self) -> Spec:
        once = {key: self.owners[key,].spec for key in _ONCE if (key,) in self.owners}
        models = {
            name: model
            for document in self.documents
            for name, model in document.spec.models.items()
            if self.owners["models", name] is document
        }
        publish = tuple(
            with_tree_path(entry, _base_dir(document), self.home)
            for document in self.documents
            for entry in document.spec.publish
        )
        discover = tuple(
            self._with_folder(document, number, entry)
            for document in self.documents
            for number, entry in enumerate(document.spec.discover)
        )
        return Spec(
            version=VERSION,
            defaults=once["defaults"].defaults if "defaults" in once else Defaults(),
            models=models,
            discover=discover,
            publish=publish,
            prune=once["prune"].prune if "prune" in once else None,
            residency=once["residency"].residency if "residency" in once else None,
        )

    def _with_folder(self, document: _Document, number: int, entry: DiscoverSpec) -> DiscoverSpec:
        """An entry of one file's discover, checked by itself, with its folder absolute."""
        loc: Loc = ("discover", number)
        self.owners[loc] = document
        for problem in discover_problems(loc, entry):
            self._report(problem, document)
        if entry.path is not None:
            entry = entry.model_copy(update={"path": str(self._absolute(loc, entry.path))})
        return self._read_template(loc, entry)

    def _with_modelfiles(self, spec: Spec) -> Spec:
        """Returns the spec with what each Modelfile says in place of the source that names it."""
        models = {
            name: self._with_modelfile(name, model, spec) for name, model in spec.models.items()
        }
        return spec.model_copy(update={"models": models})

    def _with_modelfile(self, name: str, model: ModelSpec, spec: Spec) -> ModelSpec:
        if not isinstance(model.source, ModelfileSource):
            return model
        loc: Loc = ("models", name, "source", "modelfile")
        file = self._absolute(loc, model.source.modelfile)
        try:
            self.read[file] = read_regular(file, MAX_MODELFILE_BYTES)
            modelfile = read_modelfile(self.read[file])
            declared = [other for other in spec.models if other != name]
            source = source_of(modelfile, file.parent, home=self.home, declared=declared)
        except FileProblem as error:
            self._report(Problem(loc, f"{file}: {error.what}", error.hint), self._owner(loc))
            return model
        except ModelfileError as error:
            for fault in error.faults:
                what = f"{file}:{fault.line}: {fault.what}"
                self._report(Problem(loc, what, fault.hint), self._owner(loc))
            return model
        self.modelfiles.add(name)
        return over_modelfile(model, modelfile, source)

    def _as_written(self, problem: Problem) -> Problem:
        """A base that a Modelfile names stands in no `source: {model: ...}`."""
        match problem.loc:
            case ("models", str(name), "source", "model") if name in self.modelfiles:
                return replace(problem, loc=("models", name, "source", "modelfile"))
            case _:
                return problem

    def _with_files(self, spec: Spec) -> Spec:
        """Returns the spec with absolute paths, and with the template files read."""
        defaults = self._read_template(("defaults",), spec.defaults)
        models = {name: self._with_model_files(name, model) for name, model in spec.models.items()}
        return spec.model_copy(update={"defaults": defaults, "models": models})

    def _with_model_files(self, name: str, model: ModelSpec) -> ModelSpec:
        loc = ("models", name)
        if isinstance(model.source, GgufSource):
            source = with_paths(model.source, partial(self._absolute, loc))
            model = model.model_copy(update={"source": source})
        return self._read_template(loc, model)

    def _read_template(self, loc: Loc, settings: _Settings) -> _Settings:
        if settings.template_file is None:
            return settings
        file = self._absolute(loc, settings.template_file)
        try:
            self.read[file] = read_regular(file, MAX_TEMPLATE_BYTES)
            text = template_text(self.read[file])
        except FileProblem as error:
            loc = (*loc, "template_file")
            what = f"{file}: {error.what}"
            self._report(Problem(loc, what, error.hint), self._owner(loc))
            return settings
        return settings.model_copy(update={"template": text, "template_file": str(file)})

    def _absolute(self, loc: Loc, text: str) -> Path:
        return absolute(text, _base_dir(self._owner(loc)), self.home)

    def _owner(self, loc: Loc) -> _Document:
        return self.owners.get(loc[:2]) or self.owners.get(loc[:1]) or self.documents[0]

    def _digest(self) -> Digest:
        total = hashlib.sha256()
        for data in self.read.values():
            total.update(len(data).to_bytes(8))
            total.update(data)
        return Digest(f"sha256:{total.hexdigest()}")

    def _report(self, problem: Problem, document: _Document) -> None:
        node, place, found = locate(document.root, problem.loc, at_key=problem.at_key)
        if node.faulty or (problem.missing and told(node, problem.loc, found=found)):
            return  # what is wrong there has been reported already
        what = problem.what
        if problem.see is not None:
            other = self._owner(problem.see)
            what = what.replace("{see}", f"{other.path}:{colon(find(other.root, problem.see))}")
        self._add(document.path, place, where(problem.loc), what, problem.hint)

    def _report_file(self, file: Path, problem: FileProblem) -> None:
        self._add(file, (1, 1), "", problem.what, problem.hint)

    def _add(self, file: Path, place: tuple[int, int], place_name: str, *text: str) -> None:
        what, hint = text
        self.diagnostics.append(Diagnostic(str(file), *place, place_name, what, hint))


def _base_dir(document: _Document) -> Path:
    return document.path.absolute().parent
