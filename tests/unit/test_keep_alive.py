"""keep_alive: what people write, what Ollama is sent, what is shown."""

from __future__ import annotations

import json
import re

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from paddock.core.keep_alive import FOREVER, UNLOAD, KeepAlive

EXAMPLES = "write 5m, 1h30m, a number of seconds, 0 or forever"


@pytest.mark.parametrize(
    ("written", "wire", "display"),
    [
        ("5m", 300, "5m"),
        ("1h30m", 5400, "1h30m"),
        ("1.5h", 5400, "1h30m"),
        ("300ms", 0.3, "300ms"),
        ("1500us", 0.0015, "1.5ms"),
        ("2µs", 0.000002, "2us"),
        ("1ns", 1e-9, "1ns"),
        (".5m", 30, "30s"),
        ("+5s", 5, "5s"),
        ("90s", 90, "1m30s"),
        ("1h0m1s", 3601, "1h1s"),
        (" 5m ", 300, "5m"),
        (5, 5, "5s"),
        (1.5, 1.5, "1.5s"),
        ("5", 5, "5s"),
        ("1.5", 1.5, "1.5s"),
        (0, 0, "0 (unload after use)"),
        ("0", 0, "0 (unload after use)"),
        ("0s", 0, "0 (unload after use)"),
        ("-0", 0, "0 (unload after use)"),
        (-1, -1, "for ever"),
        (-0.5, -1, "for ever"),
        ("-1", -1, "for ever"),
        ("-1s", -1, "for ever"),
        ("forever", -1, "for ever"),
        ("Forever", -1, "for ever"),
        (9_223_372_036, 9_223_372_036, "2562047h47m16s"),
    ],
)
def test_each_form_has_one_number_for_ollama_and_one_text_for_people(
    written: object, wire: float, display: str
) -> None:
    keep_alive = KeepAlive.parse(written)
    assert (keep_alive.wire, keep_alive.display) == (wire, display)
    assert str(keep_alive) == display
    assert isinstance(keep_alive.wire, int) == isinstance(wire, int)


@pytest.mark.parametrize(
    ("written", "message"),
    [
        ("", f'"" is not a time; {EXAMPLES}'),
        ("5 minutes", f'"5 minutes" is not a time; {EXAMPLES}'),
        ("1d", f'"1d" is not a time; {EXAMPLES}'),
        ("m", f'"m" is not a time; {EXAMPLES}'),
        ("1e3", f'"1e3" is not a time; {EXAMPLES}'),
        ("5m\n5", f'"5m\\n5" is not a time; {EXAMPLES}'),
        ("\u0665m", f'"\\u0665m" is not a time; {EXAMPLES}'),
        ("1" * 65, f'"{"1" * 64}" is not a time; {EXAMPLES}'),
        (True, f"must be a time, not true; {EXAMPLES}"),
        (None, f"must be a time, not null; {EXAMPLES}"),
        ([5], f"must be a time; {EXAMPLES}"),
        (float("nan"), f"must be a finite number of seconds; {EXAMPLES}"),
        (float("inf"), f"must be a finite number of seconds; {EXAMPLES}"),
        (9_223_372_037, "is longer than 292 years; write forever"),
        ("9223372036.9", "is longer than 292 years; write forever"),
        ("2562048h", "is longer than 292 years; write forever"),
    ],
)
def test_anything_else_is_refused_with_one_sentence(written: object, message: str) -> None:
    with pytest.raises(ValueError, match=f"^{re.escape(message)}$"):
        KeepAlive.parse(written)


def test_forever_and_unload_are_told_apart() -> None:
    assert (FOREVER.is_forever, FOREVER.is_unload) == (True, False)
    assert (UNLOAD.is_forever, UNLOAD.is_unload) == (False, True)
    assert (KeepAlive(300.0).is_forever, KeepAlive(300.0).is_unload) == (False, False)


@given(st.integers(min_value=0, max_value=9_223_372_036_000_000_000))
def test_no_finite_time_overflows_in_ollama(nanoseconds: int) -> None:
    """Go multiplies the number by 1e9 into an int64; an overflow would unload the model."""
    wire = KeepAlive.parse(f"{nanoseconds}ns").wire
    assert 0 <= float(json.loads(json.dumps(wire))) * 1e9 < 2**63


@given(st.integers(min_value=0, max_value=10**15))
@example(243_093_437_373_747)
def test_what_is_shown_reads_as_the_same_time(microseconds: int) -> None:
    keep_alive = KeepAlive.parse(f"{microseconds}us")
    assert keep_alive.is_unload or KeepAlive.parse(keep_alive.display) == keep_alive


@given(st.integers(min_value=1, max_value=10**9))
def test_what_stays_for_ever_goes_by_its_priority_and_is_for_ever_all_the_same(above: int) -> None:
    """Ollama counts -1 as 292 years, and what is above 100 is read as for ever."""
    lower, higher = FOREVER.below(above).wire, FOREVER.below(above - 1).wire
    assert 100 * 365 * 86_400 < lower < 2**63 / 1e9
    assert higher == -1 or lower < higher or above > 190
    assert FOREVER.below(above) == FOREVER
    assert KeepAlive(300.0).below(above).wire == 300


def test_a_turn_is_told_by_the_years_that_are_left() -> None:
    year_s = 365 * 86_400
    first, third = 292.4 * year_s, 290.4 * year_s
    assert (FOREVER.is_shown(first), FOREVER.is_shown(third)) == (True, False)
    assert (FOREVER.below(2).is_shown(first), FOREVER.below(2).is_shown(third)) == (False, True)
    assert not KeepAlive(300.0).is_shown(first)
