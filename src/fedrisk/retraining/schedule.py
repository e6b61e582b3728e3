"""When something is due: cron expressions, and no run lost or doubled by a restart."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import UTC, datetime, timedelta

from fedrisk.errors import UsageError

#: A run that is this late, because nothing ran meanwhile, is made up for once.
LOOK_BACK = timedelta(days=366)


@dataclass(frozen=True)
class Schedule:
    """Times by a cron expression, in UTC.

    Parameters
    ----------
    expression : str
        Five fields: minute, hour, day of the month, month, day of the week.

    Raises
    ------
    UsageError
        When it is no cron expression.

    Examples
    --------
    >>> every = Schedule("0 */6 * * *")
    >>> every.after(datetime(2026, 1, 1, 7, tzinfo=UTC)).isoformat()
    '2026-01-01T12:00:00+00:00'
    """

    expression: str

    def __post_init__(self) -> None:
        self.after(datetime(2026, 1, 1, tzinfo=UTC))

    def after(self, time: datetime) -> datetime:
        """The first time after one.

        Raises
        ------
        UsageError
            When there is none, as on the 30th of February.
        """
        try:
            from cronsim import CronSim, CronSimError
        except ModuleNotFoundError:
            raise UsageError(
                "cron expressions need cronsim installed", hint="install fedrisk[watch]"
            ) from None
        try:
            return next(CronSim(self.expression, time.astimezone(UTC)))
        except CronSimError as error:
            raise UsageError(
                f"{self.expression!r} is no cron expression: {error}",
                hint="five fields, for example `0 */6 * * *` for every six hours",
            ) from None
        except StopIteration:
            raise UsageError(f"{self.expression!r} never comes") from None

    def due(self, last: datetime | None, now: datetime) -> bool:
        """Whether a run is due that has not been made since the last one.

        Without any run before, the first is due at the next time of the schedule after `now`: a
        service that starts does not begin with a run.

        Parameters
        ----------
        last : datetime or None
            When the last run began, or when the schedule was first looked at.
        now : datetime
        """
        if last is None:
            return False
        return self.after(max(last, now - LOOK_BACK)) <= now
