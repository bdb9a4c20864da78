"""What changes in folders, told while it happens."""

from paddock.edges.watching.change import Change as Change
from paddock.edges.watching.change import Matters as Matters
from paddock.edges.watching.changes import Scope as Scope
from paddock.edges.watching.changes import changes as changes
