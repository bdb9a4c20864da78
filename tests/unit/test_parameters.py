"""Parameters: Ollama's options by name and type, as the server itself does not check them."""

from __future__ import annotations

import types
import typing

import ollama
import pytest
from pydantic import ValidationError

from paddock.core.parameters import OBSOLETE, Parameters

NOT_IN_THE_SDK = {"draft_num_predict", "min_p"}  # ollama-python 0.6 has not caught up
UNSUPPORTED_IN_SERVER = OBSOLETE  # the SDK still lists what the server has dropped


def test_the_names_are_those_of_the_sdk_but_for_known_differences() -> None:
    ours, theirs = set(Parameters.model_fields), set(ollama.Options.model_fields)
    assert ours - theirs == NOT_IN_THE_SDK
    assert theirs - ours == UNSUPPORTED_IN_SERVER


@pytest.mark.parametrize("name", sorted(set(Parameters.model_fields) - NOT_IN_THE_SDK))
def test_each_type_is_that_of_the_sdk(name: str) -> None:
    theirs = _core_type(ollama.Options.model_fields[name].annotation)
    assert _core_type(Parameters.model_fields[name].annotation) is theirs


def _core_type(annotation: object) -> object:
    """The one type in an Optional, without constraints; any sequence counts as a list of texts."""
    options = [annotation]
    if typing.get_origin(annotation) in {typing.Union, types.UnionType}:
        options = [item for item in typing.get_args(annotation) if item is not type(None)]
    (only,) = options
    if typing.get_origin(only) is typing.Annotated:
        only = typing.get_args(only)[0]
    return only if only in {int, float, bool} else list


def test_options_hold_only_what_is_set() -> None:
    parameters = Parameters.model_validate({"num_ctx": 4096, "seed": None, "temperature": 0})
    assert parameters.options() == {"num_ctx": 4096, "temperature": 0.0}


@pytest.mark.parametrize(
    ("written", "options"),
    [
        ({"temperature": 1}, {"temperature": 1.0}),
        ({"stop": "</s>"}, {"stop": ("</s>",)}),
        ({"stop": ["a", "b"]}, {"stop": ("a", "b")}),
        ({"num_gpu": -1}, {"num_gpu": -1}),
        ({"use_mmap": False}, {"use_mmap": False}),
    ],
)
def test_a_value_is_taken_as_ollama_would_take_it(
    written: dict[str, object], options: dict[str, object]
) -> None:
    assert Parameters.model_validate(written).options() == options


@pytest.mark.parametrize(
    "written",
    [
        {"num_ctx": "4096"},
        {"num_ctx": 4096.5},
        {"num_ctx": True},
        {"seed": 2**53},
        {"temperature": "hot"},
        {"temperature": True},
        {"temperature": float("nan")},
        {"temperature": 1e39},
        {"use_mmap": 1},
        {"stop": 5},
        {"stop": ["a", 5]},
        {"stop": ""},
        {"tempreature": 1},
        {"typical_p": 1.0},
    ],
)
def test_a_wrong_name_type_or_size_is_refused(written: dict[str, object]) -> None:
    with pytest.raises(ValidationError):
        Parameters.model_validate(written)


def test_written_keys_replace_defaults_and_null_clears_one() -> None:
    defaults = Parameters(num_ctx=4096, seed=1, top_k=5)
    model = Parameters.model_validate({"num_ctx": 2048, "seed": None})
    assert model.over(defaults).options() == {"num_ctx": 2048, "top_k": 5}
