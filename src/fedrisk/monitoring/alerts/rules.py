"""Who is told: `alerts.toml` in the home."""

from __future__ import annotations

import tomllib
from pathlib import Path
from typing import Literal, Self

from pydantic import BaseModel, ConfigDict, Field, SecretStr, ValidationError, model_validator

from fedrisk.errors import UsageError
from fedrisk.monitoring.alerts.alert import KINDS, RUNBOOKS, Alert, Kind, Level

_STRICT = ConfigDict(extra="forbid", frozen=True)


class ChannelRules(BaseModel):
    """One way to people.

    Parameters
    ----------
    kind : {"apprise", "alertmanager"}
        A service by its address as Apprise reads it (``mailtos://``, ``jsons://`` for a webhook,
        ``slack://`` and many others), or Prometheus' Alertmanager by its address.
    url : str, optional
        May hold a secret: then name a file instead.
    url_file : Path, optional
        Whose first line is the address.
    least : Level
        Alerts below are not sent here.
    digest : bool
        Whether the digest is sent here.
    """

    model_config = _STRICT

    kind: Literal["apprise", "alertmanager"] = "apprise"
    url: SecretStr | None = None
    url_file: Path | None = None
    least: Level = "medium"
    digest: bool = False

    @model_validator(mode="after")
    def _one_address(self) -> Self:
        if (self.url is None) == (self.url_file is None):
            raise ValueError("name the address by url or by url_file")
        return self

    def address(self) -> str:
        """Where to send.

        Raises
        ------
        UsageError
            When the file of the address cannot be read.
        """
        if self.url is not None:
            return self.url.get_secret_value()
        path = Path(str(self.url_file))
        try:
            return path.read_text(encoding="utf-8").split("\n", 1)[0].strip()
        except (OSError, UnicodeDecodeError) as error:
            raise UsageError(
                f"{path}: the address of an alert channel cannot be read: {type(error).__name__}"
            ) from None


class Responsible(BaseModel):
    """Who looks after some kinds of alerts.

    Parameters
    ----------
    kinds : tuple of Kind
        Empty for all that nobody else is named for.
    owner : str
        A team or a role.
    runbook : str
        Address of the page that says what to do; empty takes the project's own.
    """

    model_config = _STRICT

    kinds: tuple[Kind, ...] = ()
    owner: str
    runbook: str = ""


class AlertRules(BaseModel):
    """How alerts reach people; unknown keys are errors.

    Parameters
    ----------
    cooldown_hours : float
        What lasts is told again only after so long; what becomes worse, at once.
    digest : str
        When the digest is sent, as a cron expression in UTC; empty for never.
    keep_days : float
        How long alerts are kept.
    """

    model_config = _STRICT

    cooldown_hours: float = Field(default=24.0, ge=0, le=10_000, allow_inf_nan=False)
    digest: str = "0 7 * * *"
    keep_days: float = Field(default=190.0, gt=0, le=36_500, allow_inf_nan=False)
    channels: tuple[ChannelRules, ...] = ()
    responsible: tuple[Responsible, ...] = ()

    def owner_of(self, alert: Alert) -> tuple[str, str]:
        """Owner and runbook of an alert.

        >>> AlertRules().owner_of(Alert("quality", "north", "high", "no feed"))
        ('', 'docs/runbooks/alert-quality.md')
        """
        named = [each for each in self.responsible if alert.kind in each.kinds]
        found = named or [each for each in self.responsible if not each.kinds]
        own = f"{RUNBOOKS}/alert-{alert.kind}.md"
        return (found[0].owner, found[0].runbook or own) if found else ("", own)


def read_rules(path: Path) -> AlertRules:
    """The rules in a file; the defaults where there is none.

    Raises
    ------
    UsageError
        When it is no such file; no address is repeated.
    """
    try:
        return AlertRules.model_validate(tomllib.loads(path.read_text(encoding="utf-8")))
    except FileNotFoundError:
        return AlertRules()
    except (OSError, UnicodeDecodeError, tomllib.TOMLDecodeError) as error:
        raise UsageError(f"{path} cannot be read: {error}") from None
    except ValidationError as error:
        first = error.errors(include_input=False, include_url=False)[0]
        place = ".".join(map(str, first["loc"])) or "the file"
        raise UsageError(
            f"{path}: {place}: {first['msg']}", hint=f"kinds are {', '.join(KINDS)}"
        ) from None
