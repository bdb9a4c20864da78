"""models.yaml on disk: read once, checked whole, every problem reported with its place.

Owns the way from a file or folder to a Spec: `files` opens, `nodes` parses YAML, `scalars` reads
values, `load` maps problems to file, line and column. Opens nothing but the files of the spec and
their templates, never writes, and does not look at model files: whether they exist is observed.
"""

from paddock.edges.specfile.load import LoadedSpec, load_spec

__all__ = ["LoadedSpec", "load_spec"]
