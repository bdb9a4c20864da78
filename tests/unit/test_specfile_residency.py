"""What models.yaml says of memory: how it is read, what is refused, and what is warned of."""

from __future__ import annotations

from datetime import UTC, time
from pathlib import Path
from zoneinfo import ZoneInfo

import pytest

from paddock.core.desired import Bounds, Desired, Residency, Window
from paddock.core.keep_alive import FOREVER, UNLOAD, KeepAlive
from paddock.core.names import Name
from paddock.core.resolve import resolve
from paddock.core.sizes import parse_size, show_size
from paddock.core.spec_problems import Problem
from paddock.edges.specfile import load_spec
from paddock.edges.specfile.zones import zone_of
from spec_texts import HEAD, complaints, load, write

FIVE = KeepAlive(300.0)
HOUR = KeepAlive(3600.0)
A = HEAD + "  a:\n    source: {gguf: x}\n"  # keys of the model follow on line 5
WEEKDAYS = frozenset(range(5))
EVERY = frozenset(range(7))


def desire(folder: Path, text: str) -> Desired:
    loaded = load(folder, text)
    return resolve(loaded.spec, "models.yaml", loaded.zone)


def residency(folder: Path, keys: str, top: str = "") -> Residency:
    return desire(folder, A + keys + top).models[Name.parse("a")].residency


def window(text: str, **keys: str) -> str:
    told = "".join(f", {key}: {value}" for key, value in keys.items())
    return f"    schedule: [{{{text}{told}}}]\n"


@pytest.mark.parametrize(
    ("days", "read"),
    [
        ("mon-fri", WEEKDAYS),
        ("[mon, wed]", frozenset({0, 2})),
        ('"sat,sun"', frozenset({5, 6})),
        ("daily", EVERY),
        ("weekends", frozenset({5, 6})),
        ("fri-mon", frozenset({4, 5, 6, 0})),
        ("Tuesday", frozenset({1})),
        ("[mon-tue, sunday]", frozenset({0, 1, 6})),
    ],
)
def test_days_are_read_as_people_write_them(
    days: str, read: frozenset[int], tmp_path: Path
) -> None:
    told = window(f"days: {days}, from: 08:00, to: 19:00", preload="true")
    (found,) = residency(tmp_path, told).schedule
    assert found == Window(read, time(8), time(19), preload=True, keep_alive=FOREVER)


def test_a_time_of_day_needs_no_quotes_in_a_window_and_nowhere_else(tmp_path: Path) -> None:
    text = window("from: 8:05, to: 24:00", keep_alive="5m")
    (found,) = residency(tmp_path, text).schedule
    assert (found.days, found.start, found.end) == (EVERY, time(8, 5), time(0))
    assert complaints(write(tmp_path, A + "    keep_alive: 08:00\n")) == [
        (
            "models.yaml:5:17: models.a.keep_alive: 08:00 is a number in base 60 to some YAML "
            'readers, and not to others; write "08:00" in quotes'
        )
    ]


@pytest.mark.parametrize(
    ("model", "keys", "preload", "keep_alive"),
    [
        ("", {"preload": "true"}, True, FOREVER),
        ("    keep_alive: 5m\n", {"preload": "true"}, True, FIVE),
        ("    keep_alive: 5m\n", {"keep_alive": "1h"}, False, HOUR),
        ("    preload: true\n", {"preload": "false"}, False, None),
        ("    preload: true\n    keep_alive: 5m\n", {"preload": "false"}, False, FIVE),
        ("    preload: true\n", {"keep_alive": "1h"}, True, HOUR),
        ("", {"preload": "true", "keep_alive": "1h"}, True, HOUR),
    ],
)
def test_what_a_window_does_not_say_holds_as_outside(
    model: str, keys: dict[str, str], preload: bool, keep_alive: KeepAlive | None, tmp_path: Path
) -> None:
    (found,) = residency(tmp_path, model + window("from: 08:00, to: 19:00", **keys)).schedule
    assert (found.preload, found.keep_alive) == (preload, keep_alive)


def test_a_preload_of_a_window_means_for_ever_whatever_defaults_say(tmp_path: Path) -> None:
    defaults = "defaults: {keep_alive: 5m}\n"
    opens = window("from: 08:00, to: 19:00", preload="true")
    found = residency(tmp_path, opens, defaults)
    assert (found.keep_alive, found.schedule[0].keep_alive) == (FIVE, FOREVER)
    shuts = "    preload: true\n" + window("from: 08:00, to: 19:00", preload="false")
    found = residency(tmp_path, shuts, defaults)
    assert (found.keep_alive, found.schedule[0].keep_alive) == (FOREVER, FIVE)


@pytest.mark.parametrize(
    ("text", "clients"),
    [
        ("deny", "deny"),
        ("allow", "allow"),
        ("{min: 5m, max: 1h}", Bounds(FIVE, HOUR)),
        ("{max: 1h}", Bounds(UNLOAD, HOUR)),
        ("{min: 300}", Bounds(FIVE, FOREVER)),
    ],
)
def test_what_clients_may_ask_for(text: str, clients: object, tmp_path: Path) -> None:
    assert residency(tmp_path, f"    client_keep_alive: {text}\n").clients == clients


def test_the_limit_and_the_zone_are_of_the_host(tmp_path: Path) -> None:
    found = desire(tmp_path, A + "residency: {memory_limit: 20GiB, timezone: Europe/Paris}\n")
    assert found.memory_limit_bytes == 20 << 30
    assert found.timezone == ZoneInfo("Europe/Paris")
    assert desire(tmp_path, A + "residency: {timezone: UTC}\n").timezone == UTC


def test_windows_priority_and_clients_may_be_defaults(tmp_path: Path) -> None:
    keys = "priority: 2, client_keep_alive: allow"
    schedule = "schedule: [{from: 08:00, to: 19:00, preload: true}]"
    found = residency(tmp_path, "", f"defaults: {{{keys}, {schedule}}}\n")
    assert (found.priority, found.clients, len(found.schedule)) == (2, "allow", 1)
    assert residency(tmp_path, "    schedule:\n", f"defaults: {{{schedule}}}\n").schedule == ()


def test_a_folder_of_files_has_one_residency(tmp_path: Path) -> None:
    write(tmp_path, A, "a.yaml")
    write(tmp_path, "version: 1\nresidency: {memory_limit: 1GB}\n", "b.yaml")
    spec = load_spec(tmp_path, {}).spec
    assert spec.residency is not None
    assert spec.residency.memory_limit == 1_000_000_000
    write(tmp_path, "version: 1\nresidency: {memory_limit: 2GB}\n", "c.yaml")
    assert complaints(tmp_path) == [
        "c.yaml:2:1: residency: declared twice, first at b.yaml:2:1; keep one"
    ]


def test_the_meaning_of_memory_is_in_the_generation(tmp_path: Path) -> None:
    texts = [
        A,
        A + "    priority: 1\n",
        A + "residency: {memory_limit: 1GB}\n",
        A + "residency: {timezone: Europe/Paris}\n",
        A + window("from: 08:00, to: 19:00", preload="true"),
        A + window("from: 08:00, to: 19:30", preload="true"),
    ]
    assert len({desire(tmp_path, text).generation for text in texts}) == len(texts)


AT = "5:16: models.a.schedule"
BAD: dict[str, tuple[str, list[str]]] = {
    "no list": (
        "    schedule: daily\n",
        ["5:15: models.a.schedule: must be a list of windows, not text"],
    ),
    "no mapping": (
        "    schedule: [daily]\n",
        [
            (
                f"{AT}[0]: must be a mapping, not text; "
                'write {days: mon-fri, from: "08:00", to: "19:00", preload: true}'
            )
        ],
    ),
    "a misspelt key": (
        '    schedule: [{form: "08:00", from: "08:00", to: "19:00", preload: true}]\n',
        ['5:17: models.a.schedule[0].form: unknown key; did you mean "from"?'],
    ),
    "no end": (
        '    schedule: [{from: "08:00", preload: true}]\n',
        [f'{AT}[0].to: is missing; write to: "19:00"'],
    ),
    "no day": (
        window("days: mon-fry, from: 08:00, to: 19:00", preload="true"),
        ['5:23: models.a.schedule[0].days: "fry" is not a day; did you mean "fri"?'],
    ),
    "a day by number": (
        window("days: [1], from: 08:00, to: 19:00", preload="true"),
        [
            (
                "5:23: models.a.schedule[0].days: must be days; "
                "write mon-fri, sat,sun, daily or a list of days"
            )
        ],
    ),
    "no time": (
        window("from: 8, to: 25:00", preload="true"),
        [
            '5:23: models.a.schedule[0].from: is not a time of day; write HH:MM, such as "08:00"',
            '5:30: models.a.schedule[0].to: is not a time of day; write HH:MM, such as "08:00"',
        ],
    ),
    "a window of no length": (
        window("from: 08:00, to: 08:00", preload="true"),
        [
            (
                "5:34: models.a.schedule[0].to: the window closes when it opens; "
                'write another time, or from "00:00" to "24:00"'
            )
        ],
    ),
    "a window that says nothing": (
        window("from: 08:00, to: 19:00"),
        [f"{AT}[0]: says nothing about memory; write preload or keep_alive"],
    ),
    "a preload of nothing in a window": (
        window("from: 08:00, to: 19:00", preload="true", keep_alive="0"),
        [
            (
                "5:68: models.a.schedule[0].keep_alive: 0 unloads the model that preload: "
                "true loads; write forever or a time, or preload: false"
            )
        ],
    ),
    "a preload of a window over a keep_alive of nothing": (
        "    keep_alive: 0\n" + window("from: 08:00, to: 19:00", preload="true"),
        [
            (
                "6:50: models.a.schedule[0].preload: 0 unloads the model that preload: true loads; "
                "write forever or a time, or preload: false"
            )
        ],
    ),
    "a priority in words": (
        "    priority: high\n",
        ["5:15: models.a.priority: must be a whole number, not text"],
    ),
    "clients misspelt": (
        "    client_keep_alive: denny\n",
        [
            (
                "5:24: models.a.client_keep_alive: is neither deny nor allow nor bounds; "
                'did you mean "deny"?'
            )
        ],
    ),
    "clients with bounds the wrong way round": (
        "    client_keep_alive: {min: 1h, max: 5m}\n",
        ["5:24: models.a.client_keep_alive: min, 1h, is longer than max, 5m; exchange them"],
    ),
    "clients with no time": (
        "    client_keep_alive: {max: later}\n",
        [
            (
                '5:24: models.a.client_keep_alive: max "later" is not a time; '
                "write 5m, 1h30m, a number of seconds, 0 or forever"
            )
        ],
    ),
    "clients with another key": (
        "    client_keep_alive: {most: 5m}\n",
        [
            (
                "5:24: models.a.client_keep_alive: most is no bound; "
                "write deny, allow or {min: 1m, max: 1h}"
            )
        ],
    ),
    "a limit that is no size": (
        "residency: {memory_limit: lots}\n",
        ["5:27: residency.memory_limit: is not a size; write a number and a unit, such as 20GiB"],
    ),
    "a limit of nothing": (
        "residency: {memory_limit: 0}\n",
        [
            (
                "5:27: residency.memory_limit: leaves no memory for any model; "
                "write a size such as 20GiB"
            )
        ],
    ),
    "an unknown zone": (
        "residency: {timezone: Europe/Pariss}\n",
        [
            (
                "5:23: residency.timezone: Europe/Pariss is not a time zone; "
                'did you mean "Europe/Paris"?'
            )
        ],
    ),
    "a zone by its city": (
        "residency: {timezone: paris}\n",
        ['5:23: residency.timezone: paris is not a time zone; did you mean "Europe/Paris"?'],
    ),
    "a zone by path": (
        "residency: {timezone: ../../etc/passwd}\n",
        [
            (
                "5:23: residency.timezone: is not the name of a time zone; "
                "write one such as Europe/Paris"
            )
        ],
    ),
    "an unknown key of residency": (
        "residency: {memory: 20GiB}\n",
        ['5:13: residency.memory: unknown key; did you mean "memory_limit"?'],
    ),
    "a residency that is no mapping": (
        "residency: 20GiB\n",
        [
            (
                "5:12: residency: must be a mapping, not text; "
                "write {memory_limit: 20GiB, timezone: Europe/Paris}"
            )
        ],
    ),
}


@pytest.mark.parametrize("name", BAD)
def test_what_is_wrong_is_said_at_its_place(name: str, tmp_path: Path) -> None:
    text, expected = BAD[name]
    assert complaints(write(tmp_path, A + text)) == [f"models.yaml:{line}" for line in expected]


def test_a_window_of_defaults_or_discover_is_checked_as_one_of_a_model(tmp_path: Path) -> None:
    window = '[{from: "08:00", to: "08:00", preload: true}]'
    text = f"version: 1\nmodels: {{}}\ndefaults: {{schedule: {window}}}\n"
    text += f"discover: [{{path: /m, schedule: {window}}}]\n"
    found = complaints(write(tmp_path, text))
    assert [line.split(": ")[1] for line in found] == [
        "defaults.schedule[0].to",
        "discover[0].schedule[0].to",
    ]


# Warnings.


def warnings(folder: Path, models: str) -> list[str]:
    path = write(folder, HEAD + models)
    found = load_spec(path, {}).warnings
    return [str(warning).replace(f"{folder}/", "") for warning in found]


def test_windows_that_overlap_are_warned_of(tmp_path: Path) -> None:
    one = '{days: daily, from: "08:00", to: "12:00", preload: true}'
    two = '{days: mon, from: "11:00", to: "13:00", preload: false}'
    assert warnings(tmp_path, f"  a: {{source: {{gguf: x}}, schedule: [{one}, {two}]}}\n") == [
        (
            "models.yaml:3:95: models.a.schedule[1]: overlaps with window 1 at models.yaml:3:37, "
            "which holds while both are open; keep them apart, or leave it so"
        )
    ]


def test_names_that_would_reload_one_runner_in_turns_are_warned_of(tmp_path: Path) -> None:
    models = "  a: {source: {gguf: x}, parameters: {num_ctx: 4096, temperature: 1}}\n"
    models += "  b: {source: {model: a}, parameters: {num_ctx: 8192, num_gpu: 1}}\n"
    models += "  c: {source: {gguf: ./x}, parameters: {num_ctx: 4096}}\n"
    models += "  d: {source: {gguf: z}, parameters: {num_ctx: 1}}\n"
    hint = "Ollama reloads it whenever the two take turns: give both the same"
    assert warnings(tmp_path, models) == [
        (
            f'models.yaml:4:3: models.b: shares its GGUF with "a" at models.yaml:3:3, '
            f"with another num_ctx and num_gpu; {hint}"
        )
    ]


def test_names_over_one_gguf_with_other_files_are_warned_of(tmp_path: Path) -> None:
    models = "  a: {source: {gguf: x}}\n  b: {source: {gguf: x, projector: p}}\n"
    (found,) = warnings(tmp_path, models)
    assert 'shares its GGUF with "a" at models.yaml:3:3, with another projector;' in found


def test_names_that_give_one_runner_two_keep_alives_are_warned_of(tmp_path: Path) -> None:
    models = "  a: {source: {registry: llama3.2}, preload: true}\n"
    models += "  b: {source: {registry: llama3.2:latest}, keep_alive: 5m}\n"
    assert warnings(tmp_path, models) == [
        (
            'models.yaml:4:3: models.b: shares its runner with "a" at models.yaml:3:3, '
            "with another keep_alive; one runner has one: give both the same, or leave it to "
            "one of them"
        )
    ]


def test_a_file_that_is_plain_has_no_warnings(tmp_path: Path) -> None:
    assert warnings(tmp_path, "  a: {source: {gguf: x}}\n  b: {source: {model: a}}\n") == []


# Zones and sizes.


def test_without_a_name_the_zone_is_the_hosts(tmp_path: Path) -> None:
    assert zone_of(None, {"TZ": "Asia/Tokyo"}) == ZoneInfo("Asia/Tokyo")
    link = tmp_path / "localtime"
    link.symlink_to("/usr/share/zoneinfo/Europe/Rome")
    assert zone_of(None, {}, link) == ZoneInfo("Europe/Rome")
    assert zone_of(None, {}, tmp_path / "none") == UTC


def test_a_machine_without_zone_data_says_so(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("paddock.edges.specfile.zones.available_timezones", set)
    found = zone_of("Europe/Nowhere", {})
    assert isinstance(found, Problem)
    assert (found.what, found.hint) == (
        "this machine has no data of time zones",
        "install the system's package tzdata, or write UTC",
    )


@pytest.mark.parametrize(
    ("text", "size"),
    [
        ("20GiB", 20 << 30),
        ("1.5 GiB", 3 << 29),
        ("512MB", 512_000_000),
        ("8g", 8_000_000_000),
        ("100 kib", 102_400),
        ("7", 7),
        (7, 7),
    ],
)
def test_a_size_is_read_with_or_without_a_unit(text: object, size: int) -> None:
    assert parse_size(text) == size


@pytest.mark.parametrize("text", ["", "GiB", "1.2.3GB", "-1GB", "1 XB", True, None, 1.5])
def test_what_is_no_size_is_refused(text: object) -> None:
    with pytest.raises(ValueError, match="is not a size"):
        parse_size(text)


@pytest.mark.parametrize(
    ("size", "text"), [(0, "0 B"), (1023, "1023 B"), (1536, "1.5 KiB"), (20 << 30, "20.0 GiB")]
)
def test_a_size_is_shown_in_the_unit_that_fits(size: int, text: str) -> None:
    assert show_size(size) == text
