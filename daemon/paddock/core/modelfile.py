"""A Modelfile: what it asks for, in the words of models.yaml.

Owns the meaning of its commands, which is `ollama create`'s (`ollama:parser/parser.go`
CreateRequest, v0.34.4): the last text wins, licences, messages and stops add up, and an option that
Ollama ignores is ignored. Where the rest of Paddock cannot do yet what a command asks for, that is
a fault. Whether FROM is a file, and where, is for `edges/specfile` to find out.
"""

from __future__ import annotations

import json
from dataclasses import dataclass, field

from pydantic import ValidationError

from paddock.core.modelfile_syntax import Command, Fault, ModelfileError, parse
from paddock.core.parameter_texts import read_text
from paddock.core.parameters import OBSOLETE, Parameters, ParameterValue
from paddock.core.spec import Message
from paddock.core.spec_problems import problems_of, suggest

NOT_YET = "not supported by this version of paddock"
_NEWER = "remove it, or use a newer version"
_SHOWN_CHARS = 60

# Ollama warns of these and goes on (ollama:parser/parser.go deprecatedParameters).
IGNORED = frozenset(
    {
        "f16_kv",
        "logits_all",
        "low_vram",
        "mirostat",
        "mirostat_eta",
        "mirostat_tau",
        "penalize_newline",
        "use_mlock",
        "vocab_only",
    }
)


@dataclass(frozen=True, slots=True)
class Reference:
    """A file or a model as a command names it, and the command's line."""

    text: str
    line: int


@dataclass(frozen=True, slots=True)
class Modelfile:
    """What a Modelfile asks for. `bases` are FROM as written, each of them; a text that is None or
    a list that is empty was not given."""

    bases: tuple[Reference, ...]
    adapter: Reference | None = None
    draft: Reference | None = None
    template: str | None = None
    system: str | None = None
    parameters: Parameters | None = None
    messages: tuple[Message, ...] = ()
    license: tuple[str, ...] = ()


def read_modelfile(data: bytes) -> Modelfile:
    """Reads a Modelfile. Raises ModelfileError with every fault that can be told."""
    reading = _Reading()
    for command in parse(data):
        reading.take(command)
    parameters = reading.checked_parameters()
    if reading.faults:
        raise ModelfileError(*sorted(reading.faults, key=lambda fault: fault.line))
    return Modelfile(
        bases=tuple(reading.bases),
        adapter=reading.files.get("adapter"),
        draft=reading.files.get("draft"),
        template=reading.texts.get("template") or None,
        system=reading.texts.get("system") or None,
        parameters=parameters,
        messages=tuple(reading.messages),
        license=tuple(reading.licenses),
    )


@dataclass(slots=True)
class _Reading:
    """What the commands so far have said."""

    bases: list[Reference] = field(default_factory=list)
    files: dict[str, Reference] = field(default_factory=dict)
    texts: dict[str, str] = field(default_factory=dict)
    messages: list[Message] = field(default_factory=list)
    licenses: list[str] = field(default_factory=list)
    options: dict[str, ParameterValue] = field(default_factory=dict)
    lines: dict[str, int] = field(default_factory=dict)
    faults: list[Fault] = field(default_factory=list)

    def take(self, command: Command) -> None:
        match command.keyword:
            case "from":
                self._take_base(command)
            case "template" | "system":
                self.texts[command.keyword] = command.args
            case "adapter" | "draft":
                self._take_file(command)
            case "message":
                message = {"role": command.key, "content": command.args}
                self.messages.append(Message.model_validate(message))
            case "license":
                self.licenses.append(command.args)
            case "parameter":
                self._take_parameter(command)
            case _:
                self._fault(command, f"{command.keyword.upper()} is {NOT_YET}", _NEWER)

    def checked_parameters(self) -> Parameters | None:
        """The parameters, each within the bounds that models.yaml has for it too."""
        try:
            return Parameters.model_validate(self.options) if self.options else None
        except ValidationError as error:
            for problem in problems_of(error):
                name = str(problem.loc[0])
                what = f"PARAMETER {name}: {problem.what}"
                self.faults.append(Fault(self.lines[name], what, problem.hint))
            return None

    def _take_base(self, command: Command) -> None:
        if not command.args:
            self._fault(command, "FROM names nothing", "write a model's name or a file")
        self.bases.append(Reference(command.args, command.line))

    def _take_file(self, command: Command) -> None:
        """Of several adapters the last one counts, as for Ollama; it knows one draft only."""
        word, first = command.keyword, self.files.get(command.keyword)
        if not command.args:
            self._fault(command, f"{word.upper()} names nothing", "write the path of a GGUF file")
        if word == "draft" and first is not None:
            self._fault(command, f"DRAFT after the one on line {first.line}", "keep one")
        self.files[word] = Reference(command.args, command.line)

    def _take_parameter(self, command: Command) -> None:
        name = command.key
        if name in IGNORED:
            return
        if name not in Parameters.model_fields:
            self._fault(command, *_unknown_option(name))
            return
        try:
            value = read_text(name, command.args)
        except ValueError as error:
            what = f"PARAMETER {name}: {_shown(command.args)} {error}"
            self._fault(command, what, _comment_hint(command.args))
            return
        self.options[name] = _added(self.options.get(name), value)
        self.lines[name] = command.line

    def _fault(self, command: Command, what: str, hint: str) -> None:
        self.faults.append(Fault(command.line, what, hint))


def _added(before: ParameterValue | None, value: ParameterValue) -> ParameterValue:
    """Lists add up; of anything else the last one counts."""
    if isinstance(before, tuple) and isinstance(value, tuple):
        return (*before, *value)
    return value


def _unknown_option(name: str) -> tuple[str, str]:
    if name in OBSOLETE:
        return f"PARAMETER {name}: Ollama no longer has this option", "remove it"
    what = f"PARAMETER {name}: unknown option of Ollama"
    return what, suggest(name, Parameters.model_fields)


def _comment_hint(text: str) -> str:
    return "put the comment on a line of its own" if "#" in text else ""


def _shown(text: str) -> str:
    return json.dumps(text[:_SHOWN_CHARS], ensure_ascii=False)
