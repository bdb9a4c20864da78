"""Metrics: the numbers, and the text that Prometheus reads."""

from __future__ import annotations

import pytest

from paddock.core.metrics import Family, Histogram, render
from prometheus_text import parse


def test_a_family_is_rendered_with_its_help_and_type_before_its_first_sample() -> None:
    text = render([Family("paddock_x_total", "counter", "What x\nis \\ was.", ("reason",))])
    assert text == (
        "# HELP paddock_x_total What x\\nis \\\\ was.\n# TYPE paddock_x_total counter\n"
    )


def test_a_number_without_labels_begins_at_zero() -> None:
    family = Family("paddock_x_total", "counter", "X.")
    assert parse(render([family]))["paddock_x_total"].samples == {("paddock_x_total", ()): 0}
    family.add(by=2.5)
    assert "paddock_x_total 2.5\n" in render([family])


@pytest.mark.parametrize("value", ["plain", 'quo"te', "back\\slash", "new\nline", "ünï", ""])
def test_any_label_value_comes_back_as_it_was(value: str) -> None:
    family = Family("paddock_x_total", "counter", "X.", ("reason",))
    family.add(value)
    family.add(value)
    samples = parse(render([family]))["paddock_x_total"].samples
    assert samples == {("paddock_x_total", (("reason", value),)): 2}


def test_samples_are_in_one_order_and_old_ones_go_when_all_are_replaced() -> None:
    family = Family("paddock_models", "gauge", "X.", ("condition", "status"))
    family.set(3, "Ready", "True")
    family.replace({("Stalled", "False"): 1, ("Ready", "False"): 2})
    assert render([family]).splitlines()[2:] == [
        'paddock_models{condition="Ready",status="False"} 2',
        'paddock_models{condition="Stalled",status="False"} 1',
    ]


def test_the_buckets_of_a_histogram_add_up() -> None:
    histogram = Histogram("paddock_x_seconds", "X.", (0.1, 1, 10))
    for value in (0.05, 0.1, 0.5, 100):
        histogram.observe(value)
    assert render([histogram]).splitlines()[2:] == [
        'paddock_x_seconds_bucket{le="0.1"} 2',
        'paddock_x_seconds_bucket{le="1"} 3',
        'paddock_x_seconds_bucket{le="10"} 3',
        'paddock_x_seconds_bucket{le="+Inf"} 4',
        "paddock_x_seconds_sum 100.65",
        "paddock_x_seconds_count 4",
    ]


def test_large_and_small_numbers_are_written_as_they_are() -> None:
    family = Family("paddock_x", "gauge", "X.", ("n",))
    for value in (2.0**60, 1e-9, -1.5, float("inf")):
        family.set(value, str(value))
    found = {
        labels[0][1]: v for (_, labels), v in parse(render([family]))["paddock_x"].samples.items()
    }
    assert found == {str(v): v for v in found.values()}
    assert len(found) == 4


@pytest.mark.parametrize(
    ("name", "labels"),
    [("0x", ()), ("a-b", ()), ("a", ("b-c",)), ("a", ("__b",)), ("a", ("b", "b")), ("", ())],
)
def test_a_name_that_prometheus_does_not_take_is_refused(
    name: str, labels: tuple[str, ...]
) -> None:
    with pytest.raises(ValueError, match="not the name of a metric"):
        Family(name, "gauge", "X.", labels)


@pytest.mark.parametrize(
    "text",
    [
        "paddock_x 1\n",  # no TYPE
        "# HELP paddock_x X.\n# TYPE paddock_x gauge\npaddock_x 1",  # no newline at the end
        "# HELP paddock_x X.\n# TYPE paddock_x gauge\npaddock_x 1\npaddock_x 2\n",  # twice
        "# HELP paddock_x X.\n# TYPE paddock_x counter\npaddock_x 1\n",  # no _total
        '# HELP paddock_x X.\n# TYPE paddock_x gauge\npaddock_x{a="b"c} 1\n',
        "# HELP paddock_x X.\n# TYPE paddock_x gauge\npaddock_x one\n",
        "# TYPE paddock_x gauge\npaddock_x 1\n",  # no HELP
    ],
)
def test_the_parser_of_these_tests_refuses_what_prometheus_or_its_linter_would(text: str) -> None:
    with pytest.raises(AssertionError):
        parse(text)
