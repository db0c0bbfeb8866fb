"""Settings from the environment: typed, frozen, and loud about mistakes.

Owns: how `COVEY_*` variables become a settings value. A component derives a class with its own prefix and reads it
once, in `__main__`. Never touches: what a setting means.

    class RelaySettings(CoveySettings):
        model_config = SettingsConfigDict(env_prefix="COVEY_RELAY_")
        listen: TextList = ()
        passphrase_file: SecretFromFile | None = None
"""

import difflib
import json
import os
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any, ClassVar, Final, TypeVar

from pydantic import BeforeValidator, SecretStr, ValidationError
from pydantic_settings import BaseSettings, NoDecode, SettingsConfigDict, SettingsError

from covey_core import limits
from covey_core.errors import FileUnusable, SettingsInvalid
from covey_core.files import read_private

_PREFIX: Final = "COVEY_"
_COMPONENTS: Final = ("COVEY_NODE_", "COVEY_RELAY_", "COVEY_BOOTSTRAP_")
_SHARED: Final = frozenset(
    {
        "COVEY_BIND_ADDR",
        "COVEY_HOME",
        "COVEY_NETWORK_NAME",
        "COVEY_PUBLIC_ADDR",
        "COVEY_SUBNET_PREFIX",
        "COVEY_TAG",
    }
)
"""Read by the CLI and by compose, not by a settings class."""
_FREE_PREFIXES: Final = ("COVEY_E2E_", "COVEY_TEST_", "COVEY_BENCH_", "COVEY_DEMO_")
"""Of test and development tools."""

# Kubernetes gives every pod variables for every service of its namespace; one named covey-relay must not stop the
# start. https://kubernetes.io/docs/concepts/services-networking/service/#environment-variables
_KUBERNETES: Final = re.compile(
    r"\w+_(SERVICE_HOST|SERVICE_PORT(_\w+)?|PORT(_\d+_(TCP|UDP|SCTP)(_(PROTO|PORT|ADDR))?)?)"
)

_Settings = TypeVar("_Settings", bound="CoveySettings")


def _texts(value: object) -> object:
    if not isinstance(value, str):
        return value
    if value.lstrip().startswith("["):
        try:
            return tuple(json.loads(value))
        except (ValueError, TypeError) as exc:
            raise ValueError("this begins like a JSON list and is none") from exc
    return tuple(part.strip() for part in value.split(",") if part.strip())


def _secret(value: object) -> object:
    if not isinstance(value, str | Path) or not str(value):
        raise ValueError("give the path of the file that holds the secret")
    try:
        data = read_private(Path(value), limit_bytes=limits.SECRET_FILE_BYTES)
        text = data.decode().removesuffix("\n").removesuffix("\r")
    except FileUnusable as exc:
        raise ValueError(str(exc)) from exc
    except UnicodeDecodeError:
        raise ValueError(f"{value}: the secret is no text in UTF-8") from None
    if not text:
        raise ValueError(f"{value}: the file is empty")
    return text


TextList = Annotated[tuple[str, ...], NoDecode, BeforeValidator(_texts)]
"""A list in one variable: comma-separated, or a JSON list."""

SecretFromFile = Annotated[SecretStr, BeforeValidator(_secret)]
"""The variable holds the path of a file (mode 0600) that holds the secret; one final line break is not part of it."""


class CoveySettings(BaseSettings):
    """The root of each component's settings; load it with `load_settings`."""

    model_config = SettingsConfigDict(
        frozen=True,
        extra="forbid",
        env_prefix=_PREFIX,
        env_ignore_empty=True,  # compose passes a variable that is not set as an empty one
        hide_input_in_errors=True,
        validate_default=False,
    )

    also_known: ClassVar[frozenset[str]] = frozenset()
    """Variables of this component's prefix that something else than the settings class reads."""


def load_settings(cls: type[_Settings]) -> _Settings:
    """Return the settings from the environment.

    Raises `SettingsInvalid` that names all problems, one a line: values that cannot be, required ones that are
    missing, and `COVEY_` variables that nobody reads, with the name that was probably meant.
    """
    prefix = str(cls.model_config.get("env_prefix", _PREFIX)).upper()
    problems = _unknown(cls, prefix, os.environ)
    try:
        settings = cls()
    except ValidationError as exc:
        problems += [_line(prefix, error) for error in exc.errors(include_url=False, include_input=False)]
    except SettingsError as exc:  # a value that should have been JSON
        problems.append(str(exc))
    else:
        if not problems:
            return settings
    raise SettingsInvalid("the settings cannot be used:\n" + "\n".join(f"  {problem}" for problem in problems))


def _line(prefix: str, error: Mapping[str, Any]) -> str:
    message = "must be set" if error["type"] == "missing" else str(error["msg"]).removeprefix("Value error, ")
    location = error["loc"]
    return f"{prefix}{str(location[0]).upper()}: {message}" if location else message  # no location: of several settings


def _unknown(cls: type[CoveySettings], prefix: str, environment: Mapping[str, str]) -> list[str]:
    own = {prefix + field.upper() for field in cls.model_fields} | cls.also_known
    meant = {known.removeprefix(_PREFIX): known for known in sorted(own | _SHARED)}
    problems = []
    for variable in sorted(environment):
        name = variable.upper()
        if not name.startswith(_PREFIX) or name in own or name in _SHARED or name.startswith(_FREE_PREFIXES):
            continue
        if not name.startswith(prefix) and name.startswith(_COMPONENTS):
            continue  # of another component in the same environment
        if _KUBERNETES.fullmatch(name):
            continue
        near = difflib.get_close_matches(name.removeprefix(_PREFIX), meant, n=1)
        hint = f"did you mean {meant[near[0]]}?" if near else f"this component reads {prefix}* variables"
        problems.append(f"{variable}: no such setting; {hint}")
    return problems
