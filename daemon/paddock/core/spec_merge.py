"""Merging: what `defaults`, and a Modelfile, give to each model.

Owns the rules of precedence: `parameters` and `labels` merge by key, all else replaces, null
clears; models of a registry take only policy from `defaults`; `preload: true` alone keeps a model
for ever. A Modelfile's settings stand between: the model's own keys win over them, and they over
`defaults`. Pure: a spec in, merged models out.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from paddock.core.keep_alive import FOREVER, KeepAlive
from paddock.core.modelfile import Modelfile
from paddock.core.spec import Defaults, ModelSpec, Spec
from paddock.core.spec_sources import RegistrySource, Source

POLICY = frozenset(
    {
        "access",
        "client_keep_alive",
        "keep_alive",
        "labels",
        "preload",
        "priority",
        "schedule",
        "suspend",
    }
)
_TEMPLATE = frozenset({"template", "template_file"})


@dataclass(frozen=True, slots=True)
class MergedModel:
    """A model with its defaults; `keep_alive_written` tells that the model itself gives one. Its
    `plain_keep_alive` is what holds where it is not preloaded."""

    spec: ModelSpec
    keep_alive_written: bool
    plain_keep_alive: KeepAlive | None = None


def with_defaults(spec: Spec) -> Mapping[str, MergedModel]:
    """Returns every model, by its name as written, with the defaults of its spec laid under it."""
    return {name: merge(model, spec.defaults) for name, model in spec.models.items()}


def merge(model: ModelSpec, defaults: Defaults) -> MergedModel:
    """Returns one model over `defaults`; an absent one has nothing to set but to be left alone."""
    if model.state == "absent":
        given = _inherited(model, defaults) & {"suspend"}
        kept = model.model_copy(update={key: getattr(defaults, key) for key in given})
        return MergedModel(kept, keep_alive_written=False)
    written = model.keep_alive is not None
    given = _inherited(model, defaults)
    update = {key: getattr(defaults, key) for key in given}
    update |= _by_key(model, defaults)
    update["keep_alive"] = _keep_alive(model, defaults)
    plain = model.keep_alive
    if plain is None and "keep_alive" not in model.model_fields_set:
        plain = defaults.keep_alive
    return MergedModel(model.model_copy(update=update), written, plain)


def over_modelfile(model: ModelSpec, modelfile: Modelfile, source: Source) -> ModelSpec:
    """Returns a model as if all that its Modelfile says were written in models.yaml.

    A key that the model writes wins, null included; parameters merge key by key.
    """
    written = set(model.model_fields_set)
    if written & _TEMPLATE:
        written |= _TEMPLATE
    said: dict[str, object] = {
        "template": modelfile.template,
        "system": modelfile.system,
        "parameters": modelfile.parameters,
        "messages": modelfile.messages,
        "license": modelfile.license,
    }
    update = {key: value for key, value in said.items() if value and key not in written}
    if model.parameters is not None and modelfile.parameters is not None:
        update["parameters"] = model.parameters.over(modelfile.parameters)
    return model.model_copy(update={**update, "source": source})


def _inherited(model: ModelSpec, defaults: Defaults) -> set[str]:
    """Names the keys that `defaults` give and the model does not write, null included."""
    written = set(model.model_fields_set)
    if written & _TEMPLATE:
        written |= _TEMPLATE  # two ways to say one thing
    given = defaults.model_fields_set - written
    return given & POLICY if isinstance(model.source, RegistrySource) else set(given)


def _by_key(model: ModelSpec, defaults: Defaults) -> dict[str, object]:
    """Merges `parameters` and `labels`, where both have them."""
    merged: dict[str, object] = {}
    from_registry = isinstance(model.source, RegistrySource)
    if model.parameters is not None and defaults.parameters is not None and not from_registry:
        merged["parameters"] = model.parameters.over(defaults.parameters)
    labels = model.labels
    if "labels" not in model.model_fields_set:
        labels = defaults.labels
    elif model.labels is not None:
        labels = {**(defaults.labels or {}), **model.labels}
    merged["labels"] = {key: text for key, text in (labels or {}).items() if text is not None}
    return merged


def _keep_alive(model: ModelSpec, defaults: Defaults) -> KeepAlive | None:
    """A preload that its model writes alone means for ever, whatever `defaults` say."""
    if model.keep_alive is not None:
        return model.keep_alive
    cleared = "keep_alive" in model.model_fields_set
    default = None if cleared else defaults.keep_alive
    preload = model.preload if "preload" in model.model_fields_set else defaults.preload
    if preload and (model.preload or default is None):
        return FOREVER
    return default
