"""The values of models.yaml: names, paths, digests, accounts, durations, each with its checks.

Owns what one value may be, whatever key it stands under, and `Strict`, what every mapping of the
file has in common. Opens no file: paths are text.
"""

from __future__ import annotations

import re
from typing import Annotated, Literal, TypeAlias

from pydantic import (
    AfterValidator,
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Field,
    PlainSerializer,
    PlainValidator,
)
from pydantic_core import PydanticKnownError

from paddock.core.digest import Digest, parse_digest
from paddock.core.hub import check_pattern, check_repo, check_revision
from paddock.core.keep_alive import KeepAlive
from paddock.core.names import Name, is_scratch
from paddock.core.parameters import one_or_many
from paddock.errors import InvalidDigest, InvalidName

MAX_ID = 2**32 - 2  # the one above it means "no id" to the kernel
_ACCOUNT = re.compile(r"[^\s:,/\x00-\x1f-][^\s:,/\x00-\x1f]*")


def _check_name(text: str) -> str:
    try:
        name = Name.parse(text)
    except InvalidName as error:
        raise ValueError(error.message) from error
    if is_scratch(name):
        raise ValueError(f"{text} is a name that Paddock keeps for itself; use another one")
    return text


def _check_digest(text: str) -> Digest:
    try:
        return parse_digest(text)
    except InvalidDigest as error:
        raise ValueError(error.message) from error


def _check_sha256(text: str) -> Digest:
    try:
        return parse_digest(text if ":" in text else f"sha256:{text}")
    except InvalidDigest as error:
        raise ValueError("must be a SHA-256: 64 hexadecimal digits, in quotes") from error


def check_path(text: str) -> str:
    if not text:
        raise PydanticKnownError("string_too_short", {"min_length": 1})
    if "://" in text:
        raise ValueError("must be a path on this host, not an address; download the file first")
    if text.startswith("~") and text[1:2] not in {"", "/"}:
        raise ValueError(
            "~ is understood for the daemon's own user only; write the whole path, "
            "or ./~... for a file of that name"
        )
    return text


def _check_account(value: object) -> object:
    if type(value) is int:
        value = str(value)
    if isinstance(value, str):
        if value.isdecimal() and int(value) > MAX_ID:
            raise ValueError(f"no id is larger than {MAX_ID}; write a name or a smaller number")
        if not _ACCOUNT.fullmatch(value):
            raise ValueError("is no name of a user or group; write a name or a numeric id")
    return value


def _one_or_many(value: object) -> object:
    return (value,) if type(value) is int else one_or_many(value)


def _wire(keep_alive: KeepAlive) -> int | float:
    return keep_alive.wire


ModelName: TypeAlias = Annotated[str, AfterValidator(_check_name)]
FilePath: TypeAlias = Annotated[str, Field(min_length=1), AfterValidator(check_path)]
DigestValue: TypeAlias = Annotated[str, AfterValidator(_check_digest)]
Sha256: TypeAlias = Annotated[str, AfterValidator(_check_sha256)]
HubRepo: TypeAlias = Annotated[str, AfterValidator(check_repo)]
HubRevision: TypeAlias = Annotated[str, AfterValidator(check_revision)]
HubPattern: TypeAlias = Annotated[str, AfterValidator(check_pattern)]
TrustValue: TypeAlias = Literal["verify", "name"]
Accounts: TypeAlias = Annotated[
    tuple[Annotated[str, BeforeValidator(_check_account, json_schema_input_type=str | int)], ...],
    Field(strict=False),  # YAML gives lists; each item stays strict
    BeforeValidator(_one_or_many, json_schema_input_type=str | int | list[str | int]),
]
KeepAliveValue: TypeAlias = Annotated[
    KeepAlive,
    PlainValidator(KeepAlive.parse, json_schema_input_type=str | int | float),
    PlainSerializer(_wire, return_type=int | float),
]


class Strict(BaseModel):
    """What every mapping of the file has in common: no unknown keys, no silent conversions."""

    model_config = ConfigDict(extra="forbid", frozen=True, strict=True)
