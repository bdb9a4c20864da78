"""Views: what the commands print, and the only place that prints.

Results go to stdout, in text, JSON or YAML; diagnostics and progress to stderr. Text and JSON say
the same.
"""

from __future__ import annotations

import json
import sys
from collections.abc import Mapping, Sequence
from typing import Any

Document = Mapping[str, Any]

_UNITS = ("B", "kB", "MB", "GB", "TB")


def show(document: Document, text: str, output: str, *, is_file: bool = False) -> None:
    """Print a result, in the form asked for. A text that is to be a file has its own ways to write
    what a terminal would obey, and is printed as it is."""
    match output:
        case "json":
            print(json.dumps(document, indent=2, ensure_ascii=False))
        case "yaml":
            import yaml

            print(yaml.safe_dump(dict(document), sort_keys=False, allow_unicode=True), end="")
        case _:
            print(text if is_file else plain(text))
    sys.stdout.flush()


def show_again(document: Document, text: str, output: str, *, on_terminal: bool) -> None:
    """Print a result that has changed: in place of the last one on a terminal; JSON as one line."""
    if output == "json":
        line(text)
    elif output == "yaml":
        print("---")
        show(document, text, output)
    else:
        print("\x1b[H\x1b[2J" if on_terminal else "", end="")
        show(document, text, output)


def line(text: str) -> None:
    """Print one line of a result that comes line by line."""
    print(text, flush=True)


def note(text: str) -> None:
    """Print a line for the person at the terminal, beside the result."""
    print(plain(text), file=sys.stderr, flush=True)


def plain(text: str) -> str:
    """Text without what a terminal obeys: a name of a file may hold anything."""
    return "".join(c if c.isprintable() or c == "\n" else ascii(c)[1:-1] for c in text)


def fail(reason: str, message: str, exit_code: int, output: str) -> None:
    """Print why a command failed: one line (or one for each diagnostic), or a JSON object."""
    if output == "text":
        for line in message.splitlines():
            note(f"paddock: {line}")
        return
    error = {"reason": reason, "message": message, "exit_code": exit_code}
    show({"format_version": 1, "error": error}, "", output)


def plan_text(plan: Document, models: int, *, verbose: bool) -> str:
    """One line a model, its actions below it if wanted, and the count."""
    actions = _by_model(plan["actions"])
    rows = {name: _plan_row(name, planned) for name, planned in actions.items()}
    rows |= {w["name"]: _reasoned_row(w["symbol"], w) for w in plan["waiting"]}
    rows |= {b["name"]: _reasoned_row("!", b) for b in plan["blocked"]}
    lines: list[str] = []
    for name, line in zip(sorted(rows), table([rows[n] for n in sorted(rows)]), strict=True):
        lines.append(line)
        told = actions.get(name, []) if verbose else []
        lines += [f"    {a['action']}: {a['message']} ({a['reason']})" for a in told]
    notes = [f"note: {told['name']} is {told['message']}" for told in plan.get("suspended", ())]
    notes += [f"note: {note['message']}" for note in plan["notes"]]
    return "\n".join([*lines, *notes, plancount(plan, models)])


def plancount(plan: Document, models: int) -> str:
    """The last line of a plan."""
    found = plan["summary"]
    if not any(found.values()):
        return _no_changes(models, plan["file"])
    return (
        f"Plan: {found['add']} to add, {found['change']} to change, "
        f"{found['remove']} to remove, {found['blocked']} blocked."
    )


def _no_changes(models: int, file: str) -> str:
    verb = "matches" if models == 1 else "match"
    return f"No changes. {count(models, 'model')} {verb} {file}."


def outcome_line(outcome: Document) -> str:
    """One action that was carried out, or was not."""
    name, message = outcome["name"], outcome["message"]
    match outcome["result"]:
        case "done":
            return f"{name}: {message} ({outcome['elapsed_s']:.1f} s)"
        case "failed":
            return f"{name}: failed: {message} ({outcome['reason']})"
        case _:
            return f"{name}: skipped {outcome['action']} ({outcome['reason']})"


def applied_text(outcomes: Sequence[Document], status: Document) -> str:
    """What an apply did, and how the models stand."""
    models = [model for model in status["models"] if not _suspension(model)]
    unready = [model for model in models if ready(model)["status"] != "True"]
    lines = [f"! {m['name']}: {ready(m)['message']} ({ready(m)['reason']})" for m in unready]
    alone = {model["name"]: _suspension(model) for model in status["models"]}
    lines += [f"note: {name} is {told['message']}" for name, told in alone.items() if told]
    ledger = [c["message"] for c in status["conditions"] if c["type"] == "LedgerIntact"]
    lines += [f"note: {message}" for message in ledger]
    done = sum(outcome["result"] == "done" for outcome in outcomes)
    host = ready(status)
    is_held = host["reason"] in {"MassRemoval", "NotAdopted"}
    if is_held:
        lines.append(f"! {host['message']} ({host['reason']})")
    if not outcomes and not unready and not is_held:
        lines.append(_no_changes(len(models), status["file"]))
    else:
        what = f"Applied {count(done, 'action')}: {len(models) - len(unready)} of "
        lines.append(f"{what}{count(len(models), 'model')} ready.")
    return "\n".join(lines)


def doctor_text(report: Document) -> str:
    """A line for each check, what to do below it, and the count."""
    lines: list[str] = []
    for found in report["findings"]:
        lines.append(f"{found['verdict']:8} {found['check']}: {found['message']}")
        if "hint" in found:
            lines.append(f"{'':8} -> {found['hint']}")
    failed = sum(found["verdict"] == "failed" for found in report["findings"])
    return "\n".join([*lines, f"{count(failed, 'problem')}."])


def status_text(status: Document) -> str:
    """A table of the models, and a line for the host."""
    rows = [("NAME", "READY", "MEMORY", "SIZE", "COPIED", "SOURCE", "STATE")]
    for model in status["models"]:
        state = ready(model)
        rows.append(
            (
                model["name"],
                state["status"],
                _memory(model),
                human(model["size_bytes"]),
                human(model["copied_bytes"]),
                model["source"],
                _state(model),
            )
        )
    host = ready(status)
    said = {c["type"]: c["message"] for c in status["conditions"]}
    lines = [
        *table(rows),
        f"{status['file']} (generation {status['generation']}): {host['message']}",
        said["OllamaReachable"],
    ]
    if "ServerRunning" in said:
        lines.append(f"server: {said['ServerRunning']}")
    if "LedgerIntact" in said:
        lines.append(f"ledger: {said['LedgerIntact']}")
    if "Published" in said:
        lines.append(f"published: {said['Published']}")
    if "Watched" in said:
        lines.append(f"not watched: {said['Watched']}")
    return "\n".join(lines)


def _state(model: Document) -> str:
    """Why a model is ready or is not; of one that is left alone, why it is."""
    state = ready(model)
    told = f"{state['reason']}: {state['message']}"
    alone = _suspension(model)
    if alone is None:
        return told
    about = "" if state["reason"] == "Suspended" else f" ({told})"
    return f"{alone['reason']}: {alone['message']}{about}"


def _suspension(model: Document) -> Document | None:
    return next((c for c in model["conditions"] if c["type"] == "Suspended"), None)


def ready(document: Document) -> Document:
    """The Ready condition of a model or of the host."""
    found: Document = next(c for c in document["conditions"] if c["type"] == "Ready")
    return found


def human(size_bytes: int) -> str:
    """A size as people read it, in powers of 1000 as Ollama prints it."""
    size, unit = float(size_bytes), 0
    while size >= 999.95 and unit < len(_UNITS) - 1:
        size, unit = size / 1000, unit + 1
    return f"{size_bytes} B" if unit == 0 else f"{size:.1f} {_UNITS[unit]}"


def table(rows: Sequence[tuple[str, ...]]) -> list[str]:
    """Rows with their columns aligned."""
    widths = [max(len(row[i]) for row in rows) for i in range(len(rows[0]))] if rows else []
    return [
        "  ".join(c.ljust(w) for c, w in zip(row, widths, strict=True)).rstrip() for row in rows
    ]


def _by_model(actions: Sequence[Document]) -> dict[str, list[Document]]:
    found: dict[str, list[Document]] = {}
    for action in actions:
        found.setdefault(action["name"], []).append(action)
    return found


def _reasoned_row(symbol: str, found: Document) -> tuple[str, ...]:
    return symbol, found["name"], found["message"], found["reason"], ""


def _plan_row(name: str, actions: list[Document]) -> tuple[str, ...]:
    told = [a for a in actions if a["action"] != "WriteBlob"] or actions[:1]
    what = ", ".join(action["message"] for action in told)
    if any(a["action"] in {"PullModel", "HashSource", "ProbeModel"} for a in actions):
        what += " (the rest known after apply)"
    return told[0]["symbol"], name, what, told[0]["reason"], _bytes(actions)


def _bytes(actions: list[Document]) -> str:
    linked = sum(action["linked_bytes"] for action in actions)
    copies = [action["copied_bytes"] for action in actions]
    if any(copy is None for copy in copies):
        return f"links {human(linked)}, copies: known after apply"
    if linked or sum(copies):
        return f"links {human(linked)}, copies {human(sum(copies))}"
    return ""


def _memory(model: Document) -> str:
    if not model["loaded"]:
        return "-"
    return "for ever" if model["expires_at"] is None else f"until {model['expires_at']}"


def count(number: int, noun: str) -> str:
    """A number of things, in words: `1 model`, `2 models`."""
    return f"{number} {noun}" if number == 1 else f"{number} {noun}s"
