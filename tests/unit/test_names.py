"""Names: Ollama's grammar, its defaults, the tags that it keeps, and a store's case."""

from __future__ import annotations

import pytest

from paddock.core.names import (
    CaseConflict,
    Name,
    Spelling,
    is_scratch,
    scratch_name,
)
from paddock.errors import InvalidName


@pytest.mark.parametrize(
    ("text", "full"),
    [
        ("smollm2", "registry.ollama.ai/library/smollm2:latest"),
        ("smollm2:135m", "registry.ollama.ai/library/smollm2:135m"),
        ("me/smollm2", "registry.ollama.ai/me/smollm2:latest"),
        ("host.x/me/m:t", "host.x/me/m:t"),
        ("127.0.0.1:5055/me/m", "127.0.0.1:5055/me/m:latest"),
        ("https://registry.ollama.ai/library/m", "registry.ollama.ai/library/m:latest"),
        ("odd://host/me/m:t", "host/me/m:t"),
        ("https:///me/m", "registry.ollama.ai/me/m:latest"),
        ("hf.co/Qwen/Qwen2.5-0.5B-Instruct-GGUF:Q4_K_M", None),
        ("_m", "registry.ollama.ai/library/_m:latest"),
        ("a..b:1..2", "registry.ollama.ai/library/a..b:1..2"),
    ],
)
def test_parts_left_out_take_ollamas_defaults(text: str, full: str | None) -> None:
    assert Name.parse(text).full == (full or text)


@pytest.mark.parametrize(
    ("text", "problem"),
    [
        ("", "the model is empty"),
        ("m:", "the tag is empty"),
        (":t", "the model is empty"),
        ("/m", "the namespace is empty"),
        ("//m", "the host is empty"),
        ("/a/m", "the host is empty"),
        ("a/b/c/m", 'the host holds "/"'),
        ("../m", 'the namespace begins with "."'),
        ("../../etc/passwd", 'the host begins with "."'),
        ("-m", 'the model begins with "-"'),
        ("m:.hidden", 'the tag begins with "."'),
        ("a.b/m", 'the namespace holds "."'),
        ("m m", 'the model holds " "'),
        ("m\n", r'the model holds "\\n"'),
        ("m\x00", r'the model holds "\\u0000"'),
        ("modèle", r'the model holds "\\u00e8"'),
        ("a\\b", "the model holds"),
        ("m@sha256:00", "a name cannot hold a digest"),
        ("m" * 81, "the model has 81 characters; use at most 80"),
        ("m:" + "t" * 81, "the tag has 81 characters; use at most 80"),
        ("n" * 81 + "/m", "the namespace has 81 characters"),
        ("h" * 351 + "/n/m", "the host has 351 characters; use at most 350"),
    ],
)
def test_a_refusal_says_which_part_is_wrong_and_why(text: str, problem: str) -> None:
    with pytest.raises(InvalidName, match=problem):
        Name.parse(text)


def test_parts_of_the_greatest_length_pass() -> None:
    text = f"{'h' * 350}/{'n' * 80}/{'m' * 80}:{'t' * 80}"
    assert Name.parse(text).full == text


@pytest.mark.parametrize("text", ["x\n\x1b[31m" * 1000, "é" * 100_000, "/" * 100_000])
def test_a_refusal_is_one_short_printable_line(text: str) -> None:
    with pytest.raises(InvalidName) as raised:
        Name.parse(text)
    assert raised.value.message.isprintable()
    assert len(raised.value.message) < 1000


@pytest.mark.parametrize("tag", ["cloud", "local", "Cloud", "LOCAL", "8b-cloud", "8b-Cloud"])
def test_a_tag_that_ollama_cuts_off_is_refused_in_the_file_and_read_from_ollama(tag: str) -> None:
    """Ollama sends such a request to its cloud, or to `latest`: the model cannot be reached."""
    with pytest.raises(InvalidName, match="use another tag"):
        Name.parse(f"m:{tag}")
    assert Name.parse_api(f"m:{tag}").tag == tag
    assert Name.from_parts("h", "n", "m", tag).tag == tag


@pytest.mark.parametrize("tag", ["clouds", "mycloud", "locale", "my-local", "cloud-8b"])
def test_a_tag_that_only_resembles_those_is_fine(tag: str) -> None:
    assert Name.parse(f"m:{tag}").tag == tag
    assert not Name.parse(f"m:{tag}").is_cloud


@pytest.mark.parametrize(
    ("text", "full"),
    [
        ("m", "registry.ollama.ai/library/m:latest"),
        ("  m\n", "registry.ollama.ai/library/m:latest"),
        ("m:local", "registry.ollama.ai/library/m:latest"),
        ("m:LOCAL ", "registry.ollama.ai/library/m:latest"),
        ("m:8b:local", "registry.ollama.ai/library/m:8b"),
        ("m: local", "registry.ollama.ai/library/m:latest"),
        ("m:cloud", "registry.ollama.ai/library/m:cloud"),
        ("m:8b:cloud", "registry.ollama.ai/library/m:8b-cloud"),
        ("m:8b-cloud", "registry.ollama.ai/library/m:8b-cloud"),
        ("h:1/n/m:local", "h:1/n/m:latest"),
        ("h:1/n/my-cloud", "h:1/n/my-cloud:latest"),
        ("local", "registry.ollama.ai/library/local:latest"),
        ("cloud:local", "registry.ollama.ai/library/cloud:latest"),
    ],
)
def test_a_request_cannot_spell_one_model_in_a_second_way(text: str, full: str) -> None:
    """`m:local` is served as `m`, and so must meet the access rule of `m`."""
    assert Name.parse_request(text).full == full


@pytest.mark.parametrize("text", ["m:local:cloud", "m:cloud:local", "m:local:local", "", "m:"])
def test_a_request_that_ollama_refuses_is_refused(text: str) -> None:
    with pytest.raises(InvalidName):
        Name.parse_request(text)


def test_a_cloud_tag_is_told_from_a_local_one() -> None:
    assert Name.parse_request("m:8b:cloud").is_cloud
    assert not Name.parse_request("m:local").is_cloud


@pytest.mark.parametrize(
    ("text", "short", "display"),
    [
        ("m", "m:latest", "m"),
        ("m:8b", "m:8b", "m:8b"),
        ("me/m", "me/m:latest", "me/m"),
        ("h/me/m:8b", "h/me/m:8b", "h/me/m:8b"),
        ("h/library/m", "h/library/m:latest", "h/library/m"),
        ("REGISTRY.ollama.ai/Library/m", "m:latest", "m"),
    ],
)
def test_names_print_as_ollama_prints_them(text: str, short: str, display: str) -> None:
    name = Name.parse(text)
    assert (name.short, name.display, str(name)) == (short, display, display)


def test_the_parts_are_the_manifests_relative_path() -> None:
    assert Name.parse("me/m:8b").parts == ("registry.ollama.ai", "me", "m", "8b")


def test_a_name_with_an_invalid_part_cannot_be_made_at_all() -> None:
    """So that nobody has to check again where a name becomes a path."""
    with pytest.raises(InvalidName):
        Name("registry.ollama.ai", "library", "..", "latest")
    with pytest.raises(InvalidName):
        Name.from_parts("registry.ollama.ai", "library", "m", ".DS_Store")


def test_a_new_name_takes_the_case_that_the_store_has_for_each_part() -> None:
    present = [Name.parse("HF.co/Qwen/Qwen2.5-GGUF:Q4_K_M"), Name.parse("other")]
    asked = Name.parse("hf.co/qwen/New-Model:q4_k_m")
    assert Spelling(present).respell(asked).full == "HF.co/Qwen/New-Model:Q4_K_M"


def test_a_part_keeps_its_case_where_the_store_has_none() -> None:
    assert Spelling([]).respell(Name.parse("Me/M:Q8_0")) == Name.parse("Me/M:Q8_0")


def test_a_part_of_one_kind_says_nothing_about_another() -> None:
    spelling = Spelling([Name.parse("Q4/M2:x")])
    assert spelling.respell(Name.parse("m:q4")) == Name.parse("m:q4")


def test_a_part_in_two_cases_is_a_conflict_that_names_both() -> None:
    spelling = Spelling([Name.parse("aa:q4_k_m"), Name.parse("bb:Q4_K_M")])
    with pytest.raises(CaseConflict) as raised:
        spelling.respell(Name.parse("cc:Q4_k_m"))
    assert raised.value.reason == "CaseConflict"
    assert '"Q4_K_M" (in bb:Q4_K_M)' in raised.value.message
    assert '"q4_k_m" (in aa:q4_k_m)' in raised.value.message
    assert spelling.respell(Name.parse("AA:8b")) == Name.parse("aa:8b")


def test_the_order_of_the_names_present_changes_nothing() -> None:
    names = [Name.parse("aa:Q4"), Name.parse("ab:q4"), Name.parse("ac:q4")]
    messages = set()
    for present in (names, names[::-1]):
        with pytest.raises(CaseConflict) as raised:
            Spelling(present).respell(Name.parse("x:q4"))
        messages.add(raised.value.message)
    assert len(messages) == 1


def test_scratch_names_are_known_and_no_others() -> None:
    name = scratch_name("0123456789abcdef")
    assert name.full == "paddock.invalid/probe/0123456789abcdef:latest"
    assert is_scratch(name)
    for other in (
        "0123456789abcdef",
        "paddock.invalid/probe/0123456789abcdef:v2",
        "paddock.invalid/probe/mine",
        "paddock.invalid/me/0123456789abcdef",
    ):
        assert not is_scratch(Name.parse(other))


@pytest.mark.parametrize(
    "text", ["", "0123", "0123456789ABCDEF", "0123456789abcdef0", "../../../../../.."]
)
def test_a_scratch_name_is_made_of_sixteen_digits(text: str) -> None:
    with pytest.raises(InvalidName, match="16 lower-case hexadecimal digits"):
        scratch_name(text)
