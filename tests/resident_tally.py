"""What a simulated day came to: who was in memory, who could have been, why not, and what was sent.

A pin *fits* at a time if it has a place there by priority, beside the pins before it and what no
function of ours can move at that time:

- every other runner in use, for no use is ended for another model;
- what a client's request is loading or waits for;
- runners at rest, of models that are no pins, that a client keeps for ever: Ollama puts them out
  after ours;
- under a `memory_limit` all runners that nobody declared, which Paddock never unloads.

Whatever else is at rest is in nobody's way: Ollama puts it out for a load. Room is what Ollama has,
and what the limit leaves. A pin takes what its runner takes, which may be more than the file asks
for, where a client loaded it with a larger context. While a client's request loads a pin, that
counts as there.

Of the time that a pin fits and is away, *unavoidable* is what no function could have changed: while
Ollama loads it, if it did not go by a request of ours, and while a client's request comes before
ours in Ollama's queue. All else counts as lost by us: whatever was not noticed, waited for, or
loaded again because of our own requests.
"""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import TypeAlias

from scheduling import FOREVER_S, Model, Scheduler

_Seconds: TypeAlias = defaultdict[str, float]

UNAVOIDABLE = {"its load", "Ollama's queue"}


@dataclass(frozen=True)
class Room:
    """What pins have a place in: `pins` in the order in which they come first, the paths that the
    file names, and its limit."""

    pins: Sequence[Model]
    declared: frozenset[str]
    limit: int | None

    def fitting(self, ollama: Scheduler) -> set[str]:
        """The pins that have a place at this time."""
        return {pin.name for pin in self.pins if self._fits(pin, ollama)}

    def _fits(self, pin: Model, ollama: Scheduler) -> bool:
        """Whether it has one beside those before it that would have theirs, were it not used."""
        beside: list[Model] = []
        for other in self.pins:
            if self._is_room([*beside, other], pin, ollama):
                if other is pin:
                    return True
                beside.append(other)
        return False

    def _is_room(self, beside: Sequence[Model], pin: Model, ollama: Scheduler) -> bool:
        held = dict(self._held(ollama, {pin.path, *(model.path for model in beside)}))
        takes = sum(_takes(model, ollama) for model in beside)
        fixed = sum(size for size, is_fixed in held.values() if is_fixed)
        fits = takes + fixed <= ollama.capacity and len(beside) + len(held) <= ollama.most
        others = sum(size for size, _ in held.values())
        return fits and (self.limit is None or takes + others <= self.limit)

    def _held(self, ollama: Scheduler, but: set[str]) -> Iterator[tuple[str, tuple[int, bool]]]:
        """What we cannot move, by path: its bytes, and whether Ollama cannot either."""
        ours = {pin.path for pin in self.pins}
        for path, process in ollama.runners.items():
            is_kept = process.session_s >= FOREVER_S and path not in ours
            is_fixed = process.users > 0 or is_kept
            if path not in but and process.alive and (is_fixed or path not in self.declared):
                yield path, (process.size, is_fixed)
        for request in ollama.asked():
            if request.model.path not in but and not request.is_ours:
                yield request.model.path, (ollama.size_of(request), True)


def _takes(model: Model, ollama: Scheduler) -> int:
    process = ollama.runners.get(model.path)
    return model.size if process is None else max(process.size, model.size)


def _seconds() -> _Seconds:
    return defaultdict(float)


@dataclass
class Tally:
    """Seconds by pin: in memory, that it fitted, and those of them that it was away; how those were
    lost, by cause. Requests of ours that change memory, by what they were for and in a row, and the
    number of things that others did."""

    seconds: float = 0.0
    there_s: _Seconds = field(default_factory=_seconds)
    fits_s: _Seconds = field(default_factory=_seconds)
    away_s: _Seconds = field(default_factory=_seconds)
    unavoidable_s: _Seconds = field(default_factory=_seconds)
    causes_s: _Seconds = field(default_factory=_seconds)
    sent: Counter[str] = field(default_factory=Counter)
    disturbances: int = 0
    rows: list[int] = field(default_factory=lambda: [0])
    looks: int = 0

    def passed(
        self, seconds: float, fits: set[str], there: set[str], causes: Mapping[str, str]
    ) -> None:
        """Some time has passed; `causes` tells of each pin that fits and is away what keeps it."""
        self.seconds += seconds
        for name in there:
            self.there_s[name] += seconds
        for name in fits:
            self.fits_s[name] += seconds
        for name, cause in causes.items():
            self.away_s[name] += seconds
            self.causes_s[cause] += seconds
            if cause in UNAVOIDABLE:
                self.unavoidable_s[name] += seconds

    def disturbed(self, times: int) -> None:
        """Others did something to a pin: what we send from here on is for that."""
        self.disturbances += times
        self.rows.append(0)

    def send(self, what: str) -> None:
        """A request of ours."""
        self.sent[what] += 1
        self.rows[-1] += 1

    @property
    def requests(self) -> int:
        """All that we sent."""
        return self.sent.total()

    @property
    def each(self) -> float:
        """Our requests for each thing that others did."""
        return self.requests / max(self.disturbances, 1)

    def raw(self, name: str) -> float:
        """The share of all time that a pin was in memory."""
        return self.there_s[name] / self.seconds

    def resident(self, name: str) -> float:
        """The same of the time that it fitted."""
        return _share(self.away_s[name], self.fits_s[name])

    def held(self, name: str) -> float:
        """The same, without what was unavoidable."""
        unavoidable_s = self.unavoidable_s[name]
        return _share(self.away_s[name] - unavoidable_s, self.fits_s[name] - unavoidable_s)

    def line(self) -> str:
        """The figures of each pin, and of all requests, in lines."""
        pins = [
            f"  {name}: {_percent(self.raw(name))} of all time, {_percent(self.resident(name))} of "
            f"{self.fits_s[name]:.0f} s that it fitted, {_percent(self.held(name))} without what "
            "was unavoidable"
            for name in sorted(self.fits_s)
        ]
        sent = (
            f"  {self.requests} requests for {self.disturbances} disturbances: {self.each:.2f} "
            f"each, at most {max(self.rows)} in a row; {self.looks} looks"
        )
        most = sorted(self.causes_s.items(), key=lambda found: -found[1])
        lost = ", ".join(f"{what} {s:.0f} s" for what, s in most)
        made = ", ".join(f"{what} {n}" for what, n in self.sent.most_common())
        return "\n".join([*pins, sent, f"    lost: {lost}", f"    sent: {made}"])


def _share(away_s: float, fits_s: float) -> float:
    return 1.0 if fits_s < 1.0 else 1 - away_s / fits_s


def _percent(share: float) -> str:
    return f"{100 * share:.3f} %"
