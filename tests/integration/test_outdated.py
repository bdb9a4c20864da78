"""`paddock outdated`: what a real registry has now, beside what is installed."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from paddock_cli import User
from provider import RealPaths
from real import RealOllama
from registry import LoopbackRegistry, Programs
from snapshots import store_snapshot


@pytest.fixture(scope="module")
def author(real: RealPaths, tmp_path_factory: pytest.TempPathFactory) -> Iterator[RealOllama]:
    """A server that makes models and pushes them."""
    with RealOllama(real, tmp_path_factory.mktemp("author")) as server:
        server.create_from_gguf("smol")
        yield server


@pytest.fixture(scope="module")
def stocked(
    author: RealOllama, registry_programs: Programs, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[LoopbackRegistry]:
    with LoopbackRegistry(registry_programs, tmp_path_factory.mktemp("shop")) as registry:
        yield registry


@pytest.fixture
def shop(author: RealOllama, stocked: LoopbackRegistry) -> Iterator[LoopbackRegistry]:
    """A registry with `smol:v1` and `other:v1`, in good health."""
    _push(author, stocked, "One.", "smol:v1", "other:v1")
    yield stocked
    stocked.stop()
    stocked.reset()
    stocked.start()


def _push(author: RealOllama, shop: LoopbackRegistry, system: str, *names: str) -> None:
    """Makes another model of the same GGUF, and pushes it under these names."""
    body = {"model": "made", "from": "smol", "system": system, "stream": False}
    assert author.api("POST", "/api/create", body).status == 200
    for name in names:
        shop.push(author, "made", name)


def _entry(shop: LoopbackRegistry, name: str, key: str | None = None, more: str = "") -> str:
    source = f'{{registry: "{shop.reference(name)}", insecure: true{more}}}'
    return f'  "{key or shop.reference(name)}":\n    source: {source}\n'


def _states(user: User, *names: str, code: int = 0) -> dict[str, str]:
    result = user.paddock("outdated", *names, "-o", "json")
    assert result.code == code, result
    assert result.json["format_version"] == 1
    return {model["name"]: model["state"] for model in result.json["models"]}


def test_a_new_push_makes_a_model_outdated_and_apply_does_not_move_it(
    user: User, author: RealOllama, shop: LoopbackRegistry
) -> None:
    smol, other = shop.reference("smol:v1"), shop.reference("other:v1")
    user.declare(_entry(shop, "smol:v1") + _entry(shop, "other:v1"))
    user.apply()
    assert _states(user) == {smol: "current", other: "current"}
    assert user.paddock("outdated", "--detailed-exitcode").code == 0
    old = shop.digest("smol", "v1")
    _push(author, shop, "Two.", "smol:v1")
    assert _states(user) == {smol: "outdated", other: "current"}
    assert user.apply().out.startswith("No changes.")
    assert user.server.show(smol)["system"] == "One."
    result = user.paddock("outdated", "--detailed-exitcode")
    assert (result.code, result.err) == (2, "")
    head, *rows, last = result.out.splitlines()
    assert head.split() == ["NAME", "INSTALLED", "REGISTRY", "STATE"]
    row = next(line for line in rows if line.startswith(smol))
    assert f" {old[:19]}… " in row
    assert f" {shop.digest('smol', 'v1')[:19]}… " in row
    assert f"outdated: its registry has another; move it with: ollama pull {smol}" in row
    assert last == "1 of 2 models outdated. Paddock moves none of them by itself."
    user.server.cli("pull", "--insecure", smol)
    assert _states(user) == {smol: "current", other: "current"}
    assert user.apply().out.startswith("No changes.")
    assert user.server.show(smol)["system"] == "Two."


def test_names_restrict_what_is_asked(
    user: User, author: RealOllama, shop: LoopbackRegistry
) -> None:
    user.declare(_entry(shop, "smol:v1", "mine") + _entry(shop, "other:v1"))
    user.apply()
    asked = len(shop.requests_log())
    assert _states(user, "mine") == {"mine": "current"}
    assert _states(user, shop.reference("smol:v1")) == {"mine": "current"}
    assert len(shop.requests_log()) == asked + 2
    result = user.paddock("outdated", "nowhere")
    assert (result.code, result.out) == (1, "")
    assert result.err == "paddock: nowhere is not installed; see ollama list\n"


def test_a_pinned_model_is_moved_by_its_digest(
    user: User, author: RealOllama, shop: LoopbackRegistry
) -> None:
    smol = shop.reference("smol:v1")
    user.declare(_entry(shop, "smol:v1", more=f', digest: "{shop.digest("smol", "v1")}"'))
    user.apply()
    _push(author, shop, "Two.", "smol:v1")
    [model] = user.paddock("outdated", "-o", "json").json["models"]
    assert (model["state"], model["message"][:8]) == ("outdated", "pinned: ")
    assert model["registry"] == shop.digest("smol", "v1")
    user.declare(_entry(shop, "smol:v1", more=f', digest: "{model["registry"]}"'))
    user.apply()
    assert user.server.show(smol)["system"] == "Two."
    assert _states(user) == {smol: "current"}


def test_a_model_with_overrides_is_compared_by_what_its_registry_gave(
    user: User, author: RealOllama, shop: LoopbackRegistry
) -> None:
    smol = shop.reference("smol:v1")
    user.declare(f"{_entry(shop, 'smol:v1')}    system: Mine.\n")
    user.apply()
    assert _states(user) == {smol: "current"}
    _push(author, shop, "Two.", "smol:v1")
    assert _states(user) == {smol: "outdated"}


def test_it_changes_nothing_and_needs_neither_ollama_nor_a_daemon(
    user: User, shop: LoopbackRegistry
) -> None:
    user.declare(_entry(shop, "smol:v1"))
    user.apply()
    with user.daemon() as daemon:
        daemon.wait_ready()
        assert set(_states(user).values()) == {"current"}, "no lock is taken"
    user.server.stop()
    before = store_snapshot(user.server.models_dir)
    assert set(_states(user).values()) == {"current"}
    assert store_snapshot(user.server.models_dir) == before


def test_what_was_made_here_is_not_asked_about_unless_it_is_named(
    user: User, shop: LoopbackRegistry
) -> None:
    """Names of models that never came from a registry are nobody else's business."""
    pulled, made = shop.reference("smol:v1"), shop.reference("private:v1")
    user.declare("", head="version: 1\nmodels: {}\n")
    user.server.cli("pull", "--insecure", pulled)
    user.server.cli("cp", pulled, "elsewhere")
    body = {"model": made, "from": pulled, "system": "Mine.", "stream": False}
    assert user.server.api("POST", "/api/create", body).status == 200
    user.server.cli("rm", "elsewhere")
    # Nobody declares it, so it is asked about over TLS, which this registry does not speak.
    assert _states(user, code=1) == {pulled: "unreachable"}
    assert _states(user, made, code=1) == {made: "unreachable"}


def test_without_models_yaml_and_without_pulled_models_there_is_nothing_to_say(user: User) -> None:
    result = user.paddock("outdated", PADDOCK_FILE="")
    assert (result.code, result.out, result.err) == (
        0,
        f"No pulled models in {user.server.models_dir}.\n",
        "",
    )


@pytest.mark.parametrize(
    ("rules", "state", "code"),
    [
        ("location ~ /manifests/ { return 404; }", "gone", 0),
        ("location ~ /manifests/ { return 401; }", "needs credentials", 1),
        ("location ~ /manifests/ { return 403; }", "needs credentials", 1),
        ("location ~ /manifests/ { return 503; }", "unreachable", 1),
        ('location ~ /manifests/ { return 200 "<html>log in</html>"; }', "unreachable", 1),
        ('location ~ /manifests/ { return 200 "{}"; }', "unreachable", 1),
    ],
)
def test_a_registry_in_trouble_is_told(
    user: User, shop: LoopbackRegistry, rules: str, state: str, code: int
) -> None:
    user.declare(_entry(shop, "smol:v1"))
    user.apply()
    shop.rules(rules)
    assert _states(user, code=code) == {shop.reference("smol:v1"): state}
    result = user.paddock("outdated")
    assert result.code == code
    assert f"  {state}: " in result.out


def test_one_registry_that_is_away_does_not_hide_the_others(
    user: User, shop: LoopbackRegistry
) -> None:
    user.declare(_entry(shop, "smol:v1") + _entry(shop, "other:v1"))
    user.apply()
    shop.rules("location ~ /smol/manifests/ { return 500; }")
    smol, other = shop.reference("smol:v1"), shop.reference("other:v1")
    assert _states(user) == {smol: "unreachable", other: "current"}
    shop.cut()
    assert _states(user, code=1) == {smol: "unreachable", other: "unreachable"}


TOKEN = """
location = /token {
  if ($args !~ "service=shop&scope=repository:lib/smol:pull") { return 400; }
  if ($http_authorization) { return 400; }
  return 200 '{"token": "abc"}';
}
location ~ /manifests/ {
  add_header WWW-Authenticate
    'Bearer realm="http://REALM/token",service="shop",scope="repository:lib/smol:pull"' always;
  if ($http_authorization != "Bearer abc") { return 401; }
  proxy_pass http://BACKEND;
}
"""


@pytest.mark.parametrize(
    ("realm", "state"), [("$http_host", "current"), ("elsewhere:80", "needs credentials")]
)
def test_an_anonymous_token_is_asked_for_where_the_registry_wants_one(
    user: User, shop: LoopbackRegistry, realm: str, state: str
) -> None:
    """At the registry itself only, as Ollama does: elsewhere, whoever answers it could send us."""
    user.declare(_entry(shop, "smol:v1"))
    user.apply()
    shop.rules(TOKEN.replace("REALM", realm).replace("BACKEND", shop.backend))
    code = 0 if state == "current" else 1
    assert _states(user, code=code) == {shop.reference("smol:v1"): state}


def test_an_invalid_file_is_told_as_everywhere(user: User) -> None:
    user.declare("  smol: {sorce: {}}\n")
    assert user.paddock("outdated").code == 10
