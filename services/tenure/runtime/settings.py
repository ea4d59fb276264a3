"""Settings of the programs: flags win over `TENURE_…` variables, those over the defaults of the class.

Only composition roots read settings. A root declares a subclass of `Settings`, one field a setting, and calls `read`
with what its flags said; a flag that was not given is None and leaves the variable or the default standing.
"""

from __future__ import annotations

from typing import TypeVar

from pydantic import ValidationError
from pydantic_settings import BaseSettings, SettingsConfigDict

ENVIRONMENT_PREFIX = "TENURE_"


class SettingsError(ValueError):
    """A setting is missing or wrong; the text has one line a setting and is fit for people."""


class Settings(BaseSettings):
    """Base of the settings of a program: frozen, from `TENURE_<FIELD>` variables, unknown names refused."""

    model_config = SettingsConfigDict(env_prefix=ENVIRONMENT_PREFIX, frozen=True, extra="forbid")


SettingsT = TypeVar("SettingsT", bound=Settings)


def read(cls: type[SettingsT], **flags: object) -> SettingsT:
    """Settings of a program from its flags, the environment and the defaults.

    Args:
        cls: the class of the settings.
        flags: what the command line said, by field; None: not given.

    Raises:
        SettingsError: a value is missing or wrong. The value itself is not in the text, as it may be a secret.
    """
    given = {name: value for name, value in flags.items() if value is not None}
    try:
        return cls(**given)
    except ValidationError as error:
        lines = []
        for problem in error.errors(include_url=False, include_input=False, include_context=False):
            name = ".".join(str(part) for part in problem["loc"]) or "settings"
            variable = ENVIRONMENT_PREFIX + name.upper()
            flag = "--" + name.replace("_", "-")
            lines.append(f"{name}: {problem['msg']} (flag {flag}, variable {variable})")
        raise SettingsError("\n".join(lines)) from None
