"""Settings: where things are and how the daemon behaves, not which models there shall be.

Read from options, then `PADDOCK_*` variables (and Ollama's own `OLLAMA_HOST`, `OLLAMA_MODELS`),
then the config file, then defaults. Reads the environment and that file; changes nothing.
"""

from __future__ import annotations

import ipaddress
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any, Literal
from urllib.parse import urlsplit

import yaml
from pydantic import AliasChoices, Field, SecretStr, ValidationError, field_validator
from pydantic_settings import (
    BaseSettings,
    NoDecode,
    PydanticBaseSettingsSource,
    SettingsConfigDict,
    YamlConfigSettingsSource,
)

from paddock.errors import SettingsError

CONFIG_FILE = Path("/etc/paddock/config.yaml")
SPEC_FILE = Path("/etc/paddock/models.yaml")
_SIZE = re.compile(r"([0-9]{1,9}) ?(|b|kib|mib|gib)", re.IGNORECASE)
_SHIFTS = {"": 0, "b": 0, "kib": 10, "mib": 20, "gib": 30}
SERVICE_MODELS = Path("/usr/share/ollama/.ollama/models")


def _also(name: str, ollama: str) -> Any:
    return Field(None, validation_alias=AliasChoices(name, f"PADDOCK_{name.upper()}", ollama))


class Settings(BaseSettings):
    """Every setting: `PADDOCK_<NAME>` in the environment, `<name>` in the config file."""

    model_config = SettingsConfigDict(
        env_prefix="PADDOCK_",
        env_ignore_empty=True,
        extra="forbid",
        frozen=True,
        populate_by_name=True,
        yaml_file=CONFIG_FILE,
    )

    file: Path | None = None
    ollama_host: str | None = _also("ollama_host", "OLLAMA_HOST")
    models_dir: Path | None = _also("models_dir", "OLLAMA_MODELS")
    managed: bool = False
    ollama_bin: Path | None = None
    socket: Path | None = None
    socket_mode: int = Field(0o660, ge=0, le=0o777)
    socket_group: str | None = None
    interval: float = Field(30.0, gt=0)
    poll: float = Field(10.0, gt=0)
    drain: float = Field(10.0, ge=0)
    undeclared: Literal["allow", "deny"] = "allow"
    admins: Annotated[tuple[str, ...], NoDecode] = ()
    roots: Annotated[tuple[str, ...], NoDecode] = ()
    listen: Annotated[tuple[str, int] | None, NoDecode] = None
    max_header: int = Field(8 * 2**10, ge=1024)
    max_body: int = Field(64 * 2**20, ge=1024)
    max_buffered: int = Field(256 * 2**20, ge=1024)
    max_streams: int = Field(256, ge=1)
    max_streams_per_user: int = Field(128, ge=1)
    max_connections: int = Field(2048, ge=1)
    max_connections_per_user: int = Field(1024, ge=1)
    max_followers: int = Field(64, ge=0)
    max_wait: float = Field(600.0, ge=0)
    header_time: float = Field(60.0, gt=0)
    body_time: float = Field(60.0, gt=0)
    answer_time: float = Field(3600.0, gt=0)
    idle_time: float = Field(300.0, gt=0)
    stall_time: float = Field(600.0, gt=0)
    hf_token: SecretStr | None = None
    log_format: Literal["auto", "console", "json"] = "auto"
    log_level: Literal["debug", "info", "warning", "error"] = "info"

    @field_validator("socket_mode", mode="before")
    @classmethod
    def _octal(cls, value: object) -> object:
        """A number comes from the file, where `0660` is octal and 660 is another mode."""
        if isinstance(value, int) and value > 0o777:
            raise ValueError('must be octal, such as "0660"')
        return int(value, 8) if isinstance(value, str) else value

    @field_validator("max_header", "max_body", "max_buffered", mode="before")
    @classmethod
    def _sized(cls, value: object) -> object:
        match = _SIZE.fullmatch(value.strip()) if isinstance(value, str) else None
        return int(match[1]) << _SHIFTS[match[2].lower()] if match else value

    @field_validator("admins", "roots", mode="before")
    @classmethod
    def _listed(cls, value: object) -> object:
        items = value.split(",") if isinstance(value, str) else value
        if not isinstance(items, list | tuple):
            return (str(items),)
        return tuple(str(item).strip() for item in items if str(item).strip())

    @field_validator("roots")
    @classmethod
    def _absolute(cls, value: tuple[str, ...]) -> tuple[str, ...]:
        try:
            folders = tuple(str(Path(folder).expanduser()) for folder in value)
        except RuntimeError as error:
            raise ValueError("must begin with ~ or the name of a user after it") from error
        relative = [folder for folder in folders if not Path(folder).is_absolute()]
        if relative:
            raise ValueError(f"must be absolute paths, or begin with ~, and {relative[0]} is not")
        return folders

    @field_validator("listen", mode="before")
    @classmethod
    def _address(cls, value: object) -> object:
        if not isinstance(value, str):
            return value
        parts = urlsplit(f"//{value}")
        if not parts.hostname or parts.port is None or parts.netloc != value:
            raise ValueError("must be HOST:PORT, such as 127.0.0.1:9464")
        return parts.hostname, parts.port

    @property
    def url(self) -> str:
        """Where Ollama answers, as a URL."""
        return parse_host(self.ollama_host or "")

    @property
    def bind(self) -> tuple[str, int]:
        """Where a server that we start listens: as `url`, but everywhere where it is so set."""
        _, host, port = _host_parts(self.ollama_host or "")
        return host, port

    @property
    def program(self) -> str | None:
        """The program of a server that we start, as set."""
        return None if self.ollama_bin is None else str(_home(self.ollama_bin, "ollama_bin"))

    @property
    def token(self) -> str | None:
        """The token for the Hugging Face Hub, as set."""
        return None if self.hf_token is None else self.hf_token.get_secret_value()

    @property
    def models_path(self) -> Path:
        """The models folder: as set, else Ollama's own defaults for a user and for its service."""
        if self.models_dir is not None:
            return _home(self.models_dir, "models_dir").absolute()
        own = Path.home() / ".ollama" / "models"
        return SERVICE_MODELS if not own.is_dir() and SERVICE_MODELS.is_dir() else own

    @property
    def spec_path(self) -> Path:
        """The file (or folder) of models: as set, else here, else the host's."""
        if self.file is not None:
            return self.file
        here = Path("models.yaml")
        return SPEC_FILE if not here.exists() and SPEC_FILE.exists() else here

    @classmethod
    def settings_customise_sources(
        cls,
        settings_cls: type[BaseSettings],
        init_settings: PydanticBaseSettingsSource,
        env_settings: PydanticBaseSettingsSource,
        dotenv_settings: PydanticBaseSettingsSource,  # noqa: ARG003
        file_secret_settings: PydanticBaseSettingsSource,  # noqa: ARG003
    ) -> tuple[PydanticBaseSettingsSource, ...]:
        """Options, then the environment, then the config file."""
        return init_settings, env_settings, YamlConfigSettingsSource(settings_cls)


def _home(path: Path, setting: str) -> Path:
    try:
        return path.expanduser()
    except RuntimeError as error:  # nobody of that name
        raise SettingsError(f"setting {setting}: {path}: {error}".rstrip(".").lower()) from error


def load_settings(options: Mapping[str, Any], config: Path | None = None) -> Settings:
    """The settings, with options over all. Raises SettingsError, a line for each problem."""
    given = {key: value for key, value in options.items() if value is not None}
    kind: type[Settings] = Settings
    if config is not None:
        if not config.is_file():
            raise SettingsError(f"{config}: no such config file")
        kind = type("Settings", (Settings,), {"model_config": {"yaml_file": config}})
    try:
        return kind(**given)
    except ValidationError as error:
        lines = [_line(problem) for problem in error.errors()]
        raise SettingsError("\n".join(lines)) from error
    except (OSError, yaml.YAMLError) as error:
        what = " ".join(str(error).split())
        raise SettingsError(f"{config or CONFIG_FILE}: cannot be read: {what}") from error


def _line(problem: Any) -> str:
    name = ".".join(map(str, problem["loc"]))
    what = problem["msg"][:1].lower() + problem["msg"][1:]
    return f"setting {name.lower().removeprefix('paddock_')}: {what}; got {problem['input']!r}"


def parse_host(text: str) -> str:
    """The URL of a server as `OLLAMA_HOST` names it (ollama:envconfig/config.go Host).

    An address to listen on everywhere becomes the loopback address to connect to.
    """
    scheme, host, port = _host_parts(text)
    everywhere = {"0.0.0.0": "127.0.0.1", "::": "::1"}  # noqa: S104
    return f"{scheme}://{_bracketed(everywhere.get(host, host))}:{port}"


def _host_parts(text: str) -> tuple[str, str, int]:
    """The scheme, host and port of an `OLLAMA_HOST`."""
    scheme, found, rest = text.strip().strip("\"'").partition("://")
    if not found:
        scheme, rest = "http", scheme
    ports = {"http": 80, "https": 443} if found else {"http": 11434}
    if scheme not in ports:
        raise SettingsError(f"setting ollama_host: {text!r} is not an address of http or https")
    try:
        parts = urlsplit(f"//{_bracketed(rest.partition('/')[0])}")
        host, port = parts.hostname or "127.0.0.1", parts.port or ports[scheme]
    except ValueError as error:
        raise SettingsError(f"setting ollama_host: {text!r} is not an address: {error}") from error
    return scheme, host, port


def _bracketed(host: str) -> str:
    try:
        is_bare_v6 = ipaddress.ip_address(host).version == 6
    except ValueError:
        is_bare_v6 = False
    return f"[{host}]" if is_bare_v6 else host
