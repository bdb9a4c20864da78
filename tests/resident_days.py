"""A day with Paddock: its pure function and its memory, in the loop that the daemon is, beside a
model of Ollama's scheduler and clients who do as they like. Simulated time, and no server.

As in the daemon: a look every ten seconds, whenever a process has ended and whenever a job of ours
has; loads go one at a time beside the looks; what failed is held back (`core/failures.py`).
"""

from __future__ import annotations

import random
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime, timedelta

from paddock.core.desired import Residency
from paddock.core.digest import Digest, digest_of
from paddock.core.failures import learn, runnable
from paddock.core.keep_alive import LASTING_S
from paddock.core.names import Name
from paddock.core.observed import Memory, Running
from paddock.core.outcome import Failure, Outcome
from paddock.core.plan import Action, LoadModel, Plan, SetKeepAlive, Subject
from paddock.core.policy import policy_at
from paddock.core.residency import plan_residency
from paddock.core.residency_cases import Moment, Runner, Want
from paddock.core.residency_memory import learned, restarted, under_way
from resident_tally import Room, Tally
from scheduling import FOREVER_S, Model, Process, Request, Scheduler
from worlds import NOW

POLL_S = 10.0
SETTLE_S = 0.05
ANSWER_S = 0.01
DAY_S = 86_400.0


@dataclass(frozen=True)
class Declared:
    """A model of the file."""

    model: Model
    residency: Residency

    @property
    def name(self) -> Name:
        return Name.parse(self.model.name)

    @property
    def digest(self) -> Digest:
        return digest_of(self.model.path.encode())


class Paddock:
    """The daemon, as far as memory goes."""

    def __init__(
        self, ollama: Scheduler, file: Sequence[Declared], limit: int | None, tally: Tally
    ) -> None:
        self._ollama = ollama
        self._limit = limit
        self._file = file
        self._tally = tally
        self._memory = Memory()
        self._failures: dict[Subject, Failure] = {}
        self._jobs: dict[Name, Request] = {}
        self._queue: list[LoadModel] = []
        self._ended: list[Outcome] = []
        self._made_of = {declared.name: declared.digest for declared in file}
        self._by_name = {declared.name: declared for declared in file}
        self._woken = self._hurries = False
        self._plan = Plan("g", "f", 0)
        self.log: list[str] = []

    def start(self) -> None:
        """Look, and from then on every ten seconds."""
        self._poll()

    def wake(self) -> None:
        """A process, or a job, has ended."""
        if not self._woken:
            self._woken = True
            self._ollama.after(SETTLE_S, self._look_again)

    def ollama_restarted(self) -> None:
        """Its presence was lost, and is back."""
        self._memory = restarted(self._memory)

    def disturbed(self, what: str, times: int = 1) -> None:
        """Somebody did something to a pin: what we send from here on is for that."""
        self._tally.disturbed(times)
        self.log.append(f"{self._ollama.now:.2f} {what}")

    def keeps_away(self, name: Name) -> str:
        """What keeps a pin out of memory at this time."""
        if (job := self._jobs.get(name)) is not None:
            if self._ollama.loading is job:
                return "its load for us" if job.model.path in self._ollama.taken else "its load"
            return "use" if self._ollama.is_ours_first else "Ollama's queue"
        if any(action.name == name for action in self._queue):
            return "another load of ours"
        reasons = {told.name: told.reason for told in self._plan.waiting}
        reasons |= {told.name: told.reason for told in self._plan.blocked}
        reason = reasons.get(name)
        return reason or ("not seen yet" if name not in self._plan.symbols else "held back")

    def _poll(self) -> None:
        self._look()
        self._ollama.after(POLL_S, self._poll)

    def _look_again(self) -> None:
        self._woken = False
        self._look()

    def _hurry(self) -> None:
        self._hurries = False
        self._look()

    def _look(self) -> None:
        at = _time(self._ollama.now)
        ended, self._ended = self._ended, []
        memory = learned(self._memory, ended, self._made_of)
        loading = {*self._jobs, *(load.name for load in self._queue)}
        memory = under_way(memory, loading, self._made_of)
        found = plan_residency(
            self._wants(at), self._seen(), memory, Moment(at, "g", self._limit, self._coming())
        )
        self._tally.looks += 1
        self._memory = found.memory
        plan = Plan("g", "f", len(self._file), found.actions, found.blocked, waiting=found.waiting)
        self._plan = plan
        ended = [_judged(outcome, plan) for outcome in ended]
        self._failures = learn(self._failures, plan, ended, at, 0.5)
        self._give_up({action.name for action in plan.actions if isinstance(action, LoadModel)})
        due = runnable(plan, self._failures, at)
        for action in due:
            self._do(action)
        waits = [f.next_at for f in self._failures.values() if f.next_at is not None]
        if waits and min(waits) > at:
            self._ollama.after((min(waits) - at).total_seconds(), self.wake)
        if found.waiting and not self._hurries:
            self._hurries = True
            self._ollama.after(1.0, self._hurry)

    def _wants(self, at: datetime) -> list[Want]:
        return [
            Want(
                declared.name,
                declared.digest,
                policy_at(declared.residency, UTC, at),
                declared.residency.priority,
                declared.model.size,
            )
            for declared in self._file
        ]

    def _coming(self) -> frozenset[Digest]:
        """What a client's request is loading: its process is there, and ps does not list it."""
        request = self._ollama.loading
        return frozenset({digest_of(request.model.path.encode())} if request else ())

    def _seen(self) -> list[Runner]:
        known = set(self._made_of.values())
        runners = []
        for path, process in self._ollama.runners.items():
            digest = digest_of(path.encode())
            runners.append(Runner(_shown(process, self._ollama.now), digest, digest in known))
        return runners

    def _do(self, action: Action) -> None:
        match action:
            case LoadModel() if action.name not in {*self._jobs, *(a.name for a in self._queue)}:
                self._queue.append(action)
                self._next()
            case SetKeepAlive():
                self._set(action)
            case _:
                pass

    def _next(self) -> None:
        """One load at a time."""
        if self._queue and not self._jobs:
            action = self._queue.pop(0)
            self._count(action)
            self._jobs[action.name] = self._send(action, _seconds(action.keep_alive), None)

    def _set(self, action: SetKeepAlive) -> None:
        self._count(action)
        if action.keep_alive == 0:
            self._ollama.stop(self._by_name[action.name].model.path, is_ours=True)
            self._ended.append(Outcome(action, "done", 0.0))
            self.wake()
        else:
            self._send(action, _seconds(action.keep_alive), action.num_ctx)

    def _send(
        self, action: LoadModel | SetKeepAlive, keep_alive_s: float | None, num_ctx: int | None
    ) -> Request:
        def ended(done: bool) -> None:
            outcome = Outcome(action, "done" if done else "failed", 0.0)
            if not request.cancelled:
                message = "" if done else "500 out of memory"
                self._ended.append(replace(outcome, message=message))
            if self._jobs.get(action.name) is request:
                del self._jobs[action.name]
            self.wake()
            self._next()

        model = self._by_name[action.name].model
        request = Request(model, keep_alive_s, num_ctx, ANSWER_S, ended, is_ours=True)
        if isinstance(action, LoadModel):
            self._jobs[action.name] = request
        self._ollama.ask(request)
        return request

    def _give_up(self, wanted: set[Name]) -> None:
        """A load that no plan asks for any more is cancelled."""
        self._queue = [action for action in self._queue if action.name in wanted]
        for name in self._jobs.keys() - wanted:
            self._jobs.pop(name).cancelled = True
        self._next()

    def _count(self, action: LoadModel | SetKeepAlive) -> None:
        kind = type(action).__name__
        self._tally.send(f"{kind} {action.reason}")
        self.log.append(f"{self._ollama.now:.2f}   {kind} {action.name} {action.reason}")


@dataclass
class Day:
    """A day of clients: each kind of event comes once in so many seconds, on average."""

    seed: int
    file: Sequence[Declared]
    strangers: Sequence[Model]
    capacity: int
    limit: int | None = None
    most: int = 6
    load_s: float = 2.0
    lasts_s: float = DAY_S
    chat_s: float = 60.0
    stop_s: float = 5_400.0
    crash_s: float = 10_800.0
    restart_s: float = 28_800.0
    tally: Tally = field(default_factory=Tally)

    def __post_init__(self) -> None:
        self._random = random.Random(self.seed)
        self._ollama = Scheduler(self.capacity, self.most, self.load_s)
        self.paddock = Paddock(self._ollama, self.file, self.limit, self.tally)
        self._ollama.gone = self.paddock.wake
        pins = [declared for declared in self.file if declared.residency.preload]
        self._pins = sorted(pins, key=lambda d: (-d.residency.priority, d.name))
        declared = frozenset(d.model.path for d in self.file)
        self._room = Room([pin.model for pin in self._pins], declared, self.limit)

    def run(self) -> Tally:
        """Live through it."""
        self.paddock.start()
        self._again(self.chat_s, self._chat)
        self._again(self.stop_s, self._stop)
        self._again(self.crash_s, self._crash)
        self._again(self.restart_s, self._restart)
        while self._ollama.now < self.lasts_s:
            fits, there = self._room.fitting(self._ollama), self._there()
            causes = {name: self.paddock.keeps_away(Name.parse(name)) for name in fits - there}
            self.tally.passed(self._ollama.step(), fits, there, causes)
        return self.tally

    def _again(self, mean_s: float, event: Callable[[], None]) -> None:
        def happen() -> None:
            event()
            self._again(mean_s, event)

        self._ollama.after(self._random.expovariate(1 / mean_s), happen)

    def _there(self) -> set[str]:
        """The pins in memory, and the one that Ollama is loading at this moment for a client."""
        found = {path for path, process in self._ollama.runners.items() if process.alive}
        request = self._ollama.loading
        if request is not None and not request.is_ours:
            found.add(request.model.path)
        return {pin.model.name for pin in self._pins if pin.model.path in found}

    def _chat(self) -> None:
        model = self._random.choice([*(d.model for d in self.file), *self.strangers])
        keep_alive_s = self._random.choice([None, None, None, 30.0, 300.0, 3600.0, FOREVER_S])
        if self._random.random() < 0.02:
            keep_alive_s = 0.0
        num_ctx = self._random.choice([None] * 19 + [2 * model.num_ctx])
        lasts_s = self._random.choice([1.0, 5.0, 20.0, 90.0])
        if self._moves(model, num_ctx) or self._takes(model, keep_alive_s):
            what = f"chat {model.name} {keep_alive_s} {num_ctx} for {lasts_s} s"
            self.paddock.disturbed(what)
        self._ollama.ask(Request(model, keep_alive_s, num_ctx, lasts_s, lambda _: None))

    def _moves(self, model: Model, num_ctx: int | None) -> bool:
        """Whether a request loads something, in whose place something else may have to go."""
        process = self._ollama.runners.get(model.path)
        return process is None or process.num_ctx != (num_ctx or model.num_ctx)

    def _takes(self, model: Model, keep_alive_s: float | None) -> bool:
        """Whether a request takes a pin."""
        pinned = {pin.model.path for pin in self._pins}
        return model.path in pinned and keep_alive_s not in (None, FOREVER_S)

    def _stop(self) -> None:
        pin = self._random.choice(self._pins)
        self.paddock.disturbed(f"stop {pin.name}")
        self._ollama.stop(pin.model.path)

    def _crash(self) -> None:
        pin = self._random.choice(self._pins)
        self.paddock.disturbed(f"crash {pin.name}")
        self._ollama.crash(pin.model.path)

    def _restart(self) -> None:
        self.paddock.disturbed("restart", len(self._pins))  # each has to be loaded again
        self.paddock.ollama_restarted()
        self._ollama.restart()


def _time(now_s: float) -> datetime:
    return NOW + timedelta(seconds=now_s)


def _seconds(wire: float | None) -> float | None:
    return FOREVER_S if wire is not None and wire < 0 else wire


def _shown(process: Process, now_s: float) -> Running:
    """A runner as ps shows it: one that was never idle with what it would have from now."""
    expires_s = process.expires_at
    if expires_s is None:
        expires_s = now_s + process.session_s
    stamp = _time(expires_s)
    lasts = expires_s - now_s > LASTING_S
    name = Name.parse(process.model.name)
    manifest = digest_of(process.model.name.encode())
    return Running(
        name,
        manifest,
        None if lasts else stamp,
        process.size,
        process.num_ctx,
        process.alive,
        stamp if lasts else None,
    )


def _judged(outcome: Outcome, plan: Plan) -> Outcome:
    """As the daemon: what is to be done again had no effect."""
    if outcome.result == "done" and outcome.action in plan.actions:
        return replace(outcome, result="failed", reason="NoEffect")
    return outcome
