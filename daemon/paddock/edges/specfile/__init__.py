"""models.yaml on disk: read once, checked whole, every problem reported with its place.

Owns the way from a file or folder to a Spec: `files` opens, `nodes` parses YAML, `scalars` reads
values, `load` maps problems to file, line and column. Opens nothing but the files of the spec and
their templates, and does not look at model files: whether they exist is observed. Only `edit` ever
writes: it adds models, and keeps every byte that is there.
"""

from paddock.edges.specfile.load import load_spec
from paddock.edges.specfile.loaded import LoadedSpec

__all__ = ["LoadedSpec", "load_spec"]
