"""Prune, on a real Ollama: what the file no longer names goes, and never most of it by mistake."""

from __future__ import annotations

from paddock_cli import User, readiness

NAMES = "abcd"


def _declare(user: User, names: str, *, more: str = "") -> None:
    models = "".join(f"  {name}: {{source: {{gguf: smol.gguf}}}}\n" for name in names)
    user.declare((models or "  {}\n") + more)


def _installed(user: User) -> str:
    return "".join(sorted(name.partition(":")[0] for name in user.server.tags()))


def test_a_model_that_is_no_longer_named_goes_where_the_file_says_so(user: User) -> None:
    user.server.create_from_gguf("theirs")
    _declare(user, NAMES)
    user.apply()
    _declare(user, "abc")
    user.apply()
    assert _installed(user) == f"{NAMES}theirs", "nothing goes unless the file says so"
    _declare(user, "abc", more="prune: true\n")
    plan = user.paddock("plan")
    assert "d  remove d, which the file no longer names" in plan.out
    user.apply()
    assert _installed(user) == "abctheirs"
    assert user.gguf.exists()


def test_a_file_that_lost_most_of_its_models_removes_none(user: User) -> None:
    _declare(user, NAMES, more="prune: true\n")
    user.apply()
    _declare(user, "a", more="prune: true\n")
    result = user.apply(code=3)
    assert "apply --prune" in result.out
    assert _installed(user) == NAMES
    user.apply("--prune")
    assert _installed(user) == "a"


def test_a_daemon_prunes_when_it_is_asked_to(user: User) -> None:
    _declare(user, NAMES)
    with user.daemon() as daemon:
        daemon.wait_ready()
        _declare(user, "a", more="prune: true\n")
        daemon.wait(lambda: daemon.condition("Stalled") == ("True", "MassRemoval"), "it stalls")
        assert _installed(user) == NAMES
        user.apply("--prune")
        assert _installed(user) == "a"
        assert readiness(daemon.status()) == {"a": ("True", "AsDeclared")}
        daemon.wait_ready()


def test_an_empty_or_broken_file_prunes_nothing(user: User) -> None:
    _declare(user, "a")
    with user.daemon() as daemon:
        daemon.wait_ready()
        for text in ("", "models: {", "version: 1\nprune: true\nmodels:\n  b: {}\n"):
            user.file.write_text(text)
            daemon.wait(lambda: daemon.condition("Stalled")[1] == "SpecInvalid", "it is told")
            assert user.paddock("apply", "--prune").code == 10
            assert _installed(user) == "a"
