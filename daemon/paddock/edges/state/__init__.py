"""What Paddock remembers beside the store: the ledger of what is ours, and what was found out."""

from paddock.edges.state.caches import FileRecord as FileRecord
from paddock.edges.state.database import set_aside as set_aside
from paddock.edges.state.ledger import State as State
from paddock.edges.state.ledger import read_state as read_state
