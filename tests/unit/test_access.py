"""Access: who may use which model, however it is spelled."""

from __future__ import annotations

from typing import Any

import pytest

from paddock.core.access import Access, Grant, Peer, Policy
from paddock.core.names import Name
from paddock.core.resolve import resolve
from paddock.core.spec_check import cross_check, read_spec
from paddock.core.spec_problems import where
from paddock.endpoint.hidden import only_seen

ALICE, BOB, ROOT = Peer(1000, frozenset({1000, 50})), Peer(1001, frozenset({1001})), Peer(0)
USERS, GROUPS = {"alice": 1000}, {"dev": 50}


def grant(*users: str, groups: tuple[str, ...] = ()) -> Grant:
    return Grant.of(Access(users, groups), user_id=USERS.get, group_id=GROUPS.get)


def policy(**more: Any) -> Policy:
    grants = {Name.parse("mine").folded: grant("alice"), Name.parse("ours").folded: None}
    return Policy(grants, **more)


@pytest.mark.parametrize(
    ("rule", "allowed"),
    [
        (grant("alice"), True),
        (grant("1000"), True),
        (grant(groups=("dev",)), True),
        (grant(groups=("50",)), True),
        (grant("nobody-here", groups=("dev",)), True),
        (grant("bob"), False),
        (grant("50"), False),
        (grant(groups=("1001",)), False),
        (grant(groups=("alice",)), False),
        (grant(), False),
    ],
)
def test_a_rule_names_users_and_groups_by_name_or_number(rule: Grant, allowed: bool) -> None:
    assert rule.allows(ALICE) is allowed


@pytest.mark.parametrize(
    "spelling",
    ["mine", "Mine:latest", " mine ", "library/mine", "registry.ollama.ai/library/MINE:LATEST",
     "mine:local", "https://registry.ollama.ai/library/mine"],
)  # fmt: skip
def test_no_spelling_of_a_name_walks_past_its_rule(spelling: str) -> None:
    assert policy().sees_text(ALICE, spelling)
    assert not policy().sees_text(BOB, spelling)
    assert policy().sees_text(ROOT, spelling)


def test_a_model_without_a_rule_is_for_whoever_may_open_the_socket() -> None:
    assert policy().sees_text(BOB, "ours")
    assert policy(allow_undeclared=False).sees_text(BOB, "ours")


def test_undeclared_models_are_served_unless_the_setting_says_no() -> None:
    assert policy().sees_text(BOB, "other")
    assert not policy(allow_undeclared=False).sees_text(BOB, "other")
    assert not policy(allow_undeclared=False).sees_listed(BOB, "other:latest")
    assert policy(allow_undeclared=False).sees_text(ROOT, "other")


@pytest.mark.parametrize("name", ["m:cloud", "m:8b-cloud", "m:8b:cloud", "faraway"])
def test_models_elsewhere_must_be_declared_whoever_asks(name: str) -> None:
    remote = frozenset({Name.parse("faraway").folded})
    assert not policy(remote=remote).sees_text(ROOT, name)
    declared = Policy({Name.parse_request(name).folded: None}, remote=remote)
    assert declared.sees_text(BOB, name)


def test_a_listed_model_that_tells_that_it_is_remote_must_be_declared() -> None:
    assert not policy().sees_listed(ROOT, "other:latest", remote=True)
    assert policy().sees_listed(ROOT, "ours:latest", remote=True)


def test_what_is_no_name_is_left_to_ollama_only_while_there_is_no_rule() -> None:
    assert Policy().sees_text(BOB, "a@b")
    assert not policy().sees_text(BOB, "a@b")
    assert policy().sees_text(ROOT, "a@b")


def test_a_connection_that_tells_no_user_sees_nothing_that_has_a_rule() -> None:
    assert not policy().sees_text(None, "mine")
    assert policy().sees_text(None, "ours")


def test_documents_of_ours_lose_hidden_models_and_the_words_about_them() -> None:
    condition = {"type": "Ready", "status": "False", "reason": "ModelsNotReady", "message": "mine"}
    document = {
        "file": "f",
        "conditions": [condition],
        "models": [{"name": "mine"}, {"name": "ours"}],
    }
    assert only_seen(document, lambda _: True) is document
    cycle = {"outcomes": [{"name": "mine"}], "status": document}
    seen = only_seen(cycle, lambda name: name != "mine")
    assert seen["outcomes"] == []
    assert seen["status"]["models"] == [{"name": "ours"}]
    assert seen["status"]["conditions"] == [condition | {"message": "ModelsNotReady"}]


def test_a_plan_counts_only_the_models_that_are_left() -> None:
    actions = [
        {"name": name, "symbol": symbol}
        for name, symbol in (("mine", "+"), ("ours", "~"), ("ours", "-"))
    ]
    summary = {"add": 2, "change": 1, "remove": 0, "blocked": 1}
    waiting = [{"name": "mine", "symbol": "+"}, {"name": "last", "symbol": "+"}]
    blocked = [{"name": "other"}]
    plan = {"actions": actions, "waiting": waiting, "blocked": blocked, "summary": summary}
    seen = only_seen(plan, lambda name: name != "mine")
    assert [action["symbol"] for action in seen["actions"]] == ["~", "-"]
    assert seen["summary"] == {"add": 1, "change": 1, "remove": 0, "blocked": 1}


# --- in models.yaml


def access_of(model: dict[str, Any], **defaults: Any) -> Access | None:
    source = {"source": {"gguf": "/m.gguf"}}
    data = {"version": 1, "defaults": defaults, "models": {"m": source | model}}
    checked = read_spec(data)
    assert checked.problems == ()
    return resolve(checked.spec, "f").models[Name.parse("m")].access


def test_access_is_written_as_lists_or_as_one_name_or_number() -> None:
    assert access_of({}) is None
    given = {"users": ["bob", 1000, "alice", "bob"], "groups": "dev"}
    assert access_of({"access": given}) == Access(("1000", "alice", "bob"), ("dev",))
    assert access_of({"access": {"groups": 50}}) == Access((), ("50",))
    assert access_of({"access": {}}) == Access()


def test_access_of_defaults_is_replaced_whole_and_cleared_by_null() -> None:
    default = {"users": ["alice"], "groups": ["dev"]}
    assert access_of({}, access=default) == Access(("alice",), ("dev",))
    assert access_of({"access": {"users": ["bob"]}}, access=default) == Access(("bob",))
    assert access_of({"access": None}, access=default) is None


def test_a_change_of_access_is_a_new_generation_and_its_order_is_not() -> None:
    def generation(*users: str) -> str:
        model = {"source": {"gguf": "/m.gguf"}, "access": {"users": list(users)}}
        return resolve(read_spec({"version": 1, "models": {"m": model}}).spec, "f").generation

    assert generation("a", "b") == generation("b", "a") != generation("a")


@pytest.mark.parametrize(
    ("access", "place", "what"),
    [
        (5, "access", "must be a mapping, not the number 5"),
        ("alice", "access", "must be a mapping, not text"),
        ({"user": ["a"]}, "access.user", "unknown key"),
        ({"users": True}, "access.users", "must be a list of users, not true"),
        ({"groups": {"a": 1}}, "access.groups", "must be a list of groups, not a mapping"),
        ({"users": [None]}, "access.users[0]", "must be text, not empty"),
        ({"users": ["a b"]}, "access.users[0]", "is no name of a user or group"),
        ({"users": [-1]}, "access.users[0]", "is no name of a user or group"),
        ({"users": [2**32 - 1]}, "access.users[0]", "no id is larger than 4294967294"),
    ],
)
@pytest.mark.parametrize("top", ["models.m", "defaults"])
def test_a_wrong_rule_is_told_at_its_place(access: Any, place: str, what: str, top: str) -> None:
    model = {"source": {"gguf": "/m.gguf"}}
    defaults = {"access": access} if top == "defaults" else {}
    models = {"m": model if defaults else model | {"access": access}}
    checked = read_spec({"version": 1, "defaults": defaults, "models": models})
    found = [(where(problem.loc), problem.what) for problem in checked.problems]
    assert found == [(f"{top}.{place}", what)]


def test_a_rule_on_an_absent_model_is_a_problem() -> None:
    model = {"state": "absent", "access": {"users": ["a"]}}
    checked = read_spec({"version": 1, "models": {"m": model}})
    assert [where(p.loc) for p in cross_check(checked.spec)] == ["models.m.access"]
