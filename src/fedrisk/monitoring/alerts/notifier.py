"""Tell people what is new, what has become worse and what is gone, and nothing twice."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from datetime import datetime, timedelta

from fedrisk.monitoring.alerts.alert import EVENTS, LEVELS, Alert, at_least
from fedrisk.monitoring.alerts.channels import Channel, LogChannel, Notice, open_channel
from fedrisk.monitoring.alerts.rules import AlertRules, ChannelRules
from fedrisk.monitoring.alerts.store import AlertStore, Standing

#: What lasts is told again by the next look after the cooldown, and looks are a week apart at most.
LOOKS = timedelta(days=8)


@dataclass
class Notifier:
    """Alerts to people.

    Parameters
    ----------
    store : AlertStore
    rules : AlertRules
    channels : list of (ChannelRules, Channel)
    log : Channel
        Told everything that anybody is told.
    """

    store: AlertStore
    rules: AlertRules
    channels: list[tuple[ChannelRules, Channel]]
    log: Channel

    @classmethod
    def open(cls, store: AlertStore, rules: AlertRules) -> Notifier:
        """With the channels that rules name.

        Raises
        ------
        UsageError
            When a channel's address cannot be read or used.
        """
        return cls(
            store, rules, [(each, open_channel(each)) for each in rules.channels], LogChannel()
        )

    def observe(self, source: str, alerts: Sequence[Alert], now: datetime) -> list[Notice]:
        """Take what one source sees now; what it saw before and sees no more is gone.

        What cannot be sent by some channel stays untold, and is tried again with the next look.

        Parameters
        ----------
        source : str
            ``drift``, ``retrain``, or a command's name.
        alerts : sequence of Alert
            All that the source sees.
        now : datetime
            With a time zone.

        Returns
        -------
        list of Notice
            What was told.
        """
        known = {each.alert.key: each for each in self.store.all()}
        seen = {alert.key: alert for alert in alerts}
        changed = [_seen(known.get(key), alert, source, now) for key, alert in seen.items()]
        gone = [
            replace(each, active=False, seen=now)
            for key, each in known.items()
            if each.active and each.source == source and key not in seen
        ]
        told: list[Notice] = []
        kept = [self._tell(each, now, told) for each in changed]
        kept += [self._resolve(each, now, told) for each in gone]
        self.store.keep(kept)
        self.store.forget_before(now - timedelta(days=self.rules.keep_days))
        return told

    def again(self, now: datetime) -> list[Notice]:
        """Try once more to send what some channel did not take; what was told."""
        told: list[Notice] = []
        untold = [each for each in self.store.all() if each.active and each.told is None]
        self.store.keep([self._tell(each, now, told) for each in untold])
        return told

    def digest(self, since: datetime, now: datetime) -> str:
        """Send what lasts, and what came and went since a time; the text.

        A channel gets it where its rules say so.
        """
        text = digest_text(self.store.all(), since)
        for rules, channel in self.channels:
            if rules.digest:
                channel.send_text(f"[fedrisk] digest of {now:%Y-%m-%d}", text)
        self.log.send_text("digest", text)
        return text

    def _tell(self, standing: Standing, now: datetime, told: list[Notice]) -> Standing:
        if not self._due(standing, now):
            return standing
        notice = replace(self._notice(standing), until=self._until(standing.alert, now))
        sent = self._send(notice)
        told.append(notice)
        return replace(standing, told=now, told_level=standing.alert.level) if sent else standing

    def _resolve(self, standing: Standing, now: datetime, told: list[Notice]) -> Standing:
        if standing.told is not None and standing.alert.kind not in EVENTS:
            notice = replace(self._notice(standing), resolved=now)
            self._send(notice)
            told.append(notice)
        return replace(standing, told=None, told_level="")

    def _due(self, standing: Standing, now: datetime) -> bool:
        if standing.told is None:
            return True
        worse = LEVELS.index(standing.alert.level) > LEVELS.index(standing.told_level)
        # Either way: a clock that was wrong when it was told must not silence it.
        return worse or abs(now - standing.told) >= timedelta(hours=self.rules.cooldown_hours)

    def _until(self, alert: Alert, now: datetime) -> datetime:
        cooldown = timedelta(hours=max(self.rules.cooldown_hours, 1.0))
        return now + cooldown + (timedelta() if alert.kind in EVENTS else LOOKS)

    def _notice(self, standing: Standing) -> Notice:
        owner, runbook = self.rules.owner_of(standing.alert)
        return Notice(standing.alert, owner, runbook, standing.since)

    def _send(self, notice: Notice) -> bool:
        """Whether every channel that is meant took it."""
        meant = [
            channel for rules, channel in self.channels if at_least(notice.alert.level, rules.least)
        ]
        taken = [
            channel.send(notice) for channel in (self.log, *meant)
        ]  # all of them, whatever one says
        return all(taken)


def _seen(known: Standing | None, alert: Alert, source: str, now: datetime) -> Standing:
    if known is None or not known.active:
        return Standing(alert, source, now, now, None, "", 1, active=True)
    return replace(known, alert=alert, source=source, seen=now, times=known.times + 1)


def digest_text(standings: Sequence[Standing], since: datetime) -> str:
    """What lasts, loudest first, then what has ended since a time."""
    lasting = sorted(
        (each for each in standings if each.active),
        key=lambda each: (-LEVELS.index(each.alert.level), each.since),
    )
    ended = [each for each in standings if not each.active and each.seen >= since]
    lines = [f"{len(lasting)} open, {len(ended)} ended"]
    lines += [
        f"{each.alert.level}: {each.alert.title} (since {each.since:%Y-%m-%d %H:%M}, seen "
        f"{each.times} {'time' if each.times == 1 else 'times'})"
        for each in lasting
    ]
    lines += [f"ended: {each.alert.title}" for each in ended]
    return "\n".join(lines)
