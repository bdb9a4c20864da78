"""How far a load is: by what it took the last time, by what is in memory, or nobody knows."""

from __future__ import annotations

import pytest

from paddock.core.load import Load

GB = 10**9


@pytest.mark.parametrize(
    ("load", "done_bytes", "phase"),
    [
        (Load(4 * GB, 10.0, usual_s=40.0), GB, ""),
        (Load(4 * GB, 0.0, usual_s=40.0), 0, "4.0 GB, 1 s so far"),
        (Load(4 * GB, 10.0, usual_s=40.0, seen_bytes=3 * GB), GB, ""),
        (Load(4 * GB, 10.0, seen_bytes=3 * GB), 3 * GB, ""),
        (Load(4 * GB, 12.0), 0, "4.0 GB, 12 s so far"),
        (Load(0, 12.0, seen_bytes=5), 0, "0 B, 12 s so far"),
    ],
)
def test_the_best_guess_is_told(load: Load, done_bytes: int, phase: str) -> None:
    assert (load.done_bytes, load.phase) == (done_bytes, phase)


@pytest.mark.parametrize("load", [Load(GB, 50.0, usual_s=40.0), Load(GB, 5.0, seen_bytes=2 * GB)])
def test_no_guess_says_that_it_is_done(load: Load) -> None:
    assert load.done_bytes == 990_000_000


def test_one_that_takes_longer_says_so() -> None:
    phase = Load(GB, 50.0, usual_s=40.0).phase
    assert phase == "1.0 GB, 50 s so far, longer than the 40 s of the last time"
