"""What Paddock remembers beside the store: the ledger of what is ours, and what was found out."""

from paddock.edges.state.caches import FileRecord as FileRecord
from paddock.edges.state.ledger import State as State
