"""The daemon's metrics: what each is called, and how it is filled.

Owns the names that dashboards rely on. Filled from the end of each cycle, the outcomes of its
actions, the status and the endpoint's counts. Never names a model: whoever can scrape would see it.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Mapping

from paddock import __version__
from paddock.core.conditions import ModelStatus, Status
from paddock.core.drift import DRIFT, is_repair
from paddock.core.metrics import Family, Histogram, Labels, render
from paddock.core.outcome import Outcome
from paddock.core.plan import DownloadFile, HashSource, LoadModel, PullModel, SetKeepAlive
from paddock.endpoint.ports import StreamCounts
from paddock.engine.loop import Finished

_CYCLE_S = (0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30, 60, 300)
_RESULTS = ("ok", "partial", "error")
_TRUTHS = ("True", "False", "Unknown")
_ENDINGS = ("finished", "broken", "cut", "cancelled", "refused")


class Metrics:
    """What is counted over the life of one daemon."""

    def __init__(self) -> None:
        self._cycles = _counter("reconciles_total", "Cycles that ended, by result.", "result")
        for result in _RESULTS:
            self._cycles.set(0, result)
        self._cycle_s = Histogram(
            "paddock_reconcile_duration_seconds", "How long a cycle took.", _CYCLE_S
        )
        self._success = _gauge(
            "last_success_timestamp_seconds", "When the last cycle without a failure ended."
        )
        self._drift = _counter("drift_total", "Repairs of drift, by cause.", "reason")
        for reason in sorted(DRIFT):
            self._drift.set(0, reason)
        self._failed = _counter(
            "actions_failed_total", "Actions that failed, by kind and cause.", "action", "reason"
        )
        self._hashed = _counter("hashed_bytes_total", "Bytes of files read to hash them.")
        self._loads = _counter("loads_total", "Models loaded into memory.")
        self._repins = _counter("repins_total", "Times that a keep_alive was set again.")
        self._pulls = _counter("pulls_total", "Models pulled from a registry.")
        self._pulled = _counter("pulled_bytes_total", "Bytes that came from registries.")
        self._downloaded = _counter("downloaded_bytes_total", "Bytes that came from the hub.")

    def cycle_ended(self, end: Finished) -> None:
        """Counts one cycle and its actions."""
        self._cycles.add(end.result)
        self._cycle_s.observe(end.elapsed_s)
        if end.result == "ok":
            self._success.set(end.at.timestamp())
        for outcome in end.outcomes:
            self._count(outcome)

    def render(
        self, status: Status, counts: StreamCounts, moved_bytes: Mapping[str, int] | None = None
    ) -> str:
        """The text of `/metrics`; `moved_bytes` by each kind of action so far."""
        moved = moved_bytes or {}
        self._hashed.set(moved.get(HashSource.__name__, 0))
        self._pulled.set(moved.get(PullModel.__name__, 0))
        self._downloaded.set(moved.get(DownloadFile.__name__, 0))
        counted = (
            self._cycles,
            self._cycle_s,
            self._success,
            self._drift,
            self._failed,
            self._hashed,
            self._loads,
            self._repins,
            self._pulls,
            self._pulled,
            self._downloaded,
        )
        return render([_build(), *_of_status(status), *counted, *_of_streams(counts)])

    def _count(self, outcome: Outcome) -> None:
        action = outcome.action
        if outcome.result == "failed":
            self._failed.add(type(action).__name__, outcome.reason)
        if outcome.result != "done":
            return
        if is_repair(action):
            self._drift.add(action.reason)
        match action:
            case LoadModel():
                self._loads.add()
            case SetKeepAlive():
                self._repins.add()
            case PullModel():
                self._pulls.add()
            case _:
                pass


def _build() -> Family:
    build = _gauge("build_info", "Always 1; the version of Paddock is its label.", "version")
    build.set(1, __version__)
    return build


def _of_status(status: Status) -> Iterator[Family]:
    host = {found.type: float(found.status == "True") for found in status.conditions}
    yield _one("ready", "1 while everything is as the file says.", host.get("Ready", 0))
    yield _one("ollama_up", "1 while Ollama answers.", host.get("OllamaReachable", 0))
    seen = {found.type for model in status.models for found in model.conditions}
    counted: Counter[Labels] = Counter({(kind, truth): 0 for kind in seen for truth in _TRUTHS})
    for model in status.models:
        counted.update((found.type, found.status) for found in model.conditions)
    models = _gauge("models", "Declared models, by condition.", "condition", "status")
    models.replace({labels: float(count) for labels, count in counted.items()})
    yield models
    loaded = sum(model.loaded for model in status.models)
    yield _one("models_loaded", "Declared models in memory.", loaded)
    files = _files(status.models)
    linked = sum(model.size_bytes - model.copied_bytes for model in files)
    copied = sum(model.copied_bytes for model in files)
    yield _one("linked_bytes", "Bytes of models in the store that are links.", max(0, linked))
    yield _one("copied_bytes", "Bytes of models that are the store's own files.", copied)


def _files(models: tuple[ModelStatus, ...]) -> list[ModelStatus]:
    """One model of those that share a GGUF."""
    return list({model.digest: model for model in models if model.digest}.values())


def _of_streams(counts: StreamCounts) -> Iterator[Family | Histogram]:
    yield _one("streams_open", "Streams under way.", counts.open)
    ended = _counter("streams_total", "Streams that ended, by how.", "ending")
    for ending in _ENDINGS:
        ended.set(getattr(counts, ending), ending)
    yield ended
    yield counts.first_byte
    totals = (
        ("stream_chunks_total", "Chunks passed on to clients.", counts.chunks),
        ("upstream_errors_total", "Requests that Ollama did not answer whole.", counts.failures),
        ("connections_refused_total", "Connections over a limit.", counts.connections_refused),
    )
    for name, text, value in totals:
        total = _counter(name, text)
        total.set(value)
        yield total
    yield _one("connections_open", "Connections to the socket.", counts.connections)
    yield _one("event_followers", "Clients that follow events.", counts.followers)


def _counter(name: str, text: str, *labels: str) -> Family:
    return Family(f"paddock_{name}", "counter", text, labels)


def _gauge(name: str, text: str, *labels: str) -> Family:
    return Family(f"paddock_{name}", "gauge", text, labels)


def _one(name: str, text: str, value: float) -> Family:
    gauge = _gauge(name, text)
    gauge.set(value)
    return gauge
