"""What systemd is told of Paddock's state, in words: the line that `systemctl status` shows.

Pure. One line, of what is under way where something is, else of how the models stand.
"""

from __future__ import annotations

from paddock.core.conditions import Status, condition
from paddock.core.progress import Progress, line

_LONGEST_CHARS = 200


def status_line(status: Status, under_way: tuple[Progress, ...] = ()) -> str:
    """How things stand, for `STATUS=`."""
    if not under_way:
        return one_line(condition(status.conditions, "Ready").message)
    more = len(under_way) - 1
    return one_line(line(under_way[0]) + (f", and {more} more" if more else ""))


def one_line(text: str) -> str:
    """A text as one line of bounded length that can be printed: a name may hold anything."""
    plain = "".join(c if c.isprintable() else " " for c in text)
    return plain if len(plain) <= _LONGEST_CHARS else f"{plain[: _LONGEST_CHARS - 1]}…"
