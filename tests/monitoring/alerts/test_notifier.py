"""Who is told what and when: new, worse, lasting, gone; and what a dead channel does not lose."""

from __future__ import annotations

import json
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from fedrisk.errors import UsageError
from fedrisk.monitoring.alerts.alert import KINDS, LEVELS, Alert
from fedrisk.monitoring.alerts.channels import (
    AlertmanagerChannel,
    AppriseChannel,
    LogChannel,
    Notice,
)
from fedrisk.monitoring.alerts.notifier import Notifier
from fedrisk.monitoring.alerts.rules import AlertRules, ChannelRules, Responsible, read_rules
from fedrisk.monitoring.alerts.store import AlertStore

START = datetime(2026, 1, 5, 6, tzinfo=UTC)
FEED = Alert("quality", "north", "high", "no feed", "pm25 is missing")
DRIFT = Alert("drift", "m", "low", "m drifts")


class Kept:
    """A channel that keeps what it is told, and takes nothing while it is away."""

    def __init__(self) -> None:
        self.told: list[Notice] = []
        self.texts: list[str] = []
        self.away = False

    def send(self, notice: Notice) -> bool:
        if not self.away:
            self.told.append(notice)
        return not self.away

    def send_text(self, title: str, body: str) -> bool:
        self.texts.append(body)
        return not self.away

    @property
    def titles(self) -> list[str]:
        return [notice.title for notice in self.told]


def rules(**more: object) -> AlertRules:
    return AlertRules.model_validate(more)


CHANNEL = ChannelRules(url="json://x", least="medium", digest=True)  # type: ignore[arg-type]


@pytest.fixture
def store(tmp_path: Path) -> Iterator[AlertStore]:
    store = AlertStore(f"sqlite:///{tmp_path / 'state.db'}", "m")
    yield store
    store.close()


@pytest.fixture
def pager() -> Kept:
    return Kept()


@pytest.fixture
def notifier(store: AlertStore, pager: Kept) -> Notifier:
    return Notifier(store, rules(), [(CHANNEL, pager)], LogChannel())


def after(hours: float) -> datetime:
    return START + timedelta(hours=hours)


def test_a_trouble_is_told_once_and_again_after_its_cooldown(notifier, pager) -> None:
    for hour in (0, 6, 12, 18):
        notifier.observe("drift", [FEED], after(hour))
    assert pager.titles == ["[fedrisk, high] no feed"]
    notifier.observe("drift", [FEED], after(24))
    assert len(pager.told) == 2
    assert pager.told[1].since == START


def test_what_becomes_worse_is_told_at_once(notifier, pager) -> None:
    for hour, level in ((0, "low"), (1, "medium"), (2, "high"), (3, "medium"), (4, "high")):
        notifier.observe("drift", [Alert("drift", "m", level, level)], after(hour))
    assert pager.titles == ["[fedrisk, medium] medium", "[fedrisk, high] high"]


def test_what_is_gone_is_told_where_it_was_told_and_may_come_again(notifier, pager) -> None:
    notifier.observe("drift", [FEED, DRIFT], after(0))
    notifier.observe("drift", [], after(6))
    assert pager.titles == ["[fedrisk, high] no feed", "[fedrisk, resolved] no feed"]
    notifier.observe("drift", [FEED], after(7))
    assert len(pager.told) == 3
    assert pager.told[2].since == after(7)


def test_one_source_does_not_end_what_another_sees(notifier, pager) -> None:
    notifier.observe("drift", [FEED], after(0))
    notifier.observe("retrain", [], after(1))
    assert [each.active for each in notifier.store.all()] == [True]
    assert len(pager.told) == 1


def test_an_event_is_never_over(notifier, pager) -> None:
    notifier.observe("retrain", [Alert("returned", "m", "high", "taken back")], after(0))
    notifier.observe("retrain", [], after(200))
    assert pager.titles == ["[fedrisk, high] taken back"]


def test_what_a_channel_does_not_take_is_tried_again(notifier, pager) -> None:
    pager.away = True
    notifier.observe("drift", [FEED], after(0))
    pager.away = False
    assert [each.title for each in notifier.again(after(1))] == pager.titles
    assert pager.titles == ["[fedrisk, high] no feed"]
    assert notifier.again(after(2)) == []


def test_a_new_process_knows_what_was_told(store, notifier, pager) -> None:
    notifier.observe("drift", [FEED], after(0))
    other = Notifier(store, rules(), [(CHANNEL, pager)], LogChannel())
    other.observe("drift", [FEED], after(6))
    assert len(pager.told) == 1


def test_the_digest_has_what_lasts_and_what_ended(notifier, pager) -> None:
    notifier.observe("drift", [FEED, DRIFT], after(0))
    notifier.observe("drift", [FEED], after(20))
    text = notifier.digest(after(10), after(24))
    assert pager.texts == [text]
    assert text.splitlines()[0] == "1 open, 1 ended"
    assert "high: no feed (since 2026-01-05 06:00, seen 2 times)" in text
    assert "ended: m drifts" in text
    assert notifier.digest(after(21), after(24)).splitlines()[0] == "1 open, 0 ended"


def test_old_troubles_are_forgotten_and_lasting_ones_are_not(store, pager) -> None:
    notifier = Notifier(store, rules(keep_days=10), [], LogChannel())
    notifier.observe("drift", [FEED, DRIFT], after(0))
    notifier.observe("drift", [FEED], after(1))
    notifier.observe("drift", [FEED], after(24 * 12))
    assert [each.alert.key for each in store.all()] == [FEED.key]


@given(st.lists(st.lists(st.sampled_from(LEVELS), max_size=1), max_size=12))
def test_whatever_happens_nothing_is_told_twice_within_its_cooldown(
    tmp_path_factory, looks
) -> None:
    store = AlertStore(f"sqlite:///{tmp_path_factory.mktemp('a') / 'state.db'}", "m")
    pager = Kept()
    notifier = Notifier(store, rules(), [(ChannelRules(url="x", least="low"), pager)], LogChannel())  # type: ignore[arg-type]
    for hour, levels in enumerate(looks):
        notifier.observe("drift", [Alert("drift", "m", each, "t") for each in levels], after(hour))
    store.close()
    told: list[Notice] = []
    for notice in pager.told:
        if told and notice.resolved is None and told[-1].resolved is None:
            worse = LEVELS.index(notice.alert.level) > LEVELS.index(told[-1].alert.level)
            assert worse
        told.append(notice)


@contextmanager
def listening(status: int = 200) -> Iterator[tuple[str, list[tuple[str, bytes]]]]:
    """An HTTP server on loopback, and what it was sent."""
    got: list[tuple[str, bytes]] = []

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            got.append((self.path, self.rfile.read(int(self.headers["Content-Length"]))))
            self.send_response(status)
            self.end_headers()

        def log_message(self, *_: object) -> None: ...

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    try:
        yield f"127.0.0.1:{server.server_port}", got
    finally:
        server.shutdown()
        thread.join()
        server.server_close()


def test_alertmanager_gets_begin_and_end() -> None:
    with listening() as (place, got):
        channel = AlertmanagerChannel(f"http://{place}/")
        assert channel.send(Notice(FEED, "data team", "page", START))
        assert channel.send(Notice(FEED, "data team", "page", START, after(2)))
    (path, first), (_, second) = got
    (alert,) = json.loads(first)
    assert path == "/api/v2/alerts"
    assert alert["labels"] == {
        "alertname": "FedriskQuality",
        "service": "fedrisk",
        "subject": "north",
        "severity": "critical",
        "owner": "data team",
    }
    assert alert["annotations"]["runbook_url"] == "page"
    assert (alert["startsAt"], json.loads(second)[0]["endsAt"]) == (
        START.isoformat(),
        after(2).isoformat(),
    )


def test_alertmanager_holds_what_lasts_until_it_is_told_again(store: AlertStore) -> None:
    """It counts an alert without an end as resolved after five minutes."""
    gate = Alert("gate", "m", "medium", "refused")
    with listening() as (place, got):
        channel = AlertmanagerChannel(f"http://{place}")
        notifier = Notifier(store, rules(), [(CHANNEL, channel)], LogChannel())
        notifier.observe("drift", [FEED, gate], START)
        notifier.observe("drift", [], after(6))
    told = [json.loads(text)[0] for _, text in got]
    ends = [(each["labels"]["alertname"], each["endsAt"]) for each in told]
    # Watches look every six hours to every week; an event is over after a day.
    assert ends == [
        ("FedriskQuality", after(24 + 8 * 24).isoformat()),
        ("FedriskGate", after(24).isoformat()),
        ("FedriskQuality", after(6).isoformat()),
    ]


def test_an_alertmanager_that_is_away_takes_nothing_and_ends_nothing(caplog) -> None:
    with listening(500) as (place, _):
        assert not AlertmanagerChannel(f"http://{place}").send(Notice(FEED, "", "", START))
    assert not AlertmanagerChannel("http://127.0.0.1:9").send(Notice(FEED, "", "", START))
    assert not AlertmanagerChannel("http://no host").send(Notice(FEED, "", "", START))
    assert "Alertmanager does not take an alert" in caplog.text


def test_a_webhook_by_apprise_gets_title_and_text() -> None:
    with listening() as (place, got):
        assert AppriseChannel(f"json://{place}/hook").send(Notice(FEED, "data team", "page", START))
    document = json.loads(got[0][1])
    assert document["title"] == "[fedrisk, high] no feed"
    assert "pm25 is missing" in document["message"]
    assert "owner: data team" in document["message"]


@pytest.mark.parametrize("address", ["", "nothing", "made-up://secret@host", "the-secret-alone"])
def test_an_address_that_is_none_is_refused_without_its_secret(address: str) -> None:
    with pytest.raises(UsageError) as caught:
        AppriseChannel(address)
    assert "secret" not in caught.value.message
    with pytest.raises(UsageError, match="http"):
        AlertmanagerChannel(address)


def test_rules_are_read_and_wrong_ones_told_without_their_address(tmp_path: Path) -> None:
    path = tmp_path / "alerts.toml"
    assert read_rules(path) == AlertRules()
    secret = tmp_path / "address"
    secret.write_text("json://host/hook\n")
    path.write_text(
        f'[[channels]]\nurl_file = "{secret}"\nleast = "high"\n'
        '[[responsible]]\nkinds = ["quality"]\nowner = "data team"\nrunbook = "page"\n'
        '[[responsible]]\nowner = "operator"\n'
    )
    found = read_rules(path)
    assert found.channels[0].address() == "json://host/hook"
    assert found.owner_of(FEED) == ("data team", "page")
    assert found.owner_of(DRIFT) == ("operator", "docs/runbooks/alert-drift.md")
    for text in (
        '[[channels]]\nurl = "json://secret"\nurl_file = "x"\n',
        '[[channels]]\nurl = "json://secret"\nleast = "loud"\n',
        '[[responsible]]\nkinds = ["other"]\nowner = "x"\n',
        'colour = "red"\n',
        "[[",
    ):
        path.write_text(text)
        with pytest.raises(UsageError, match=r"alerts\.toml") as caught:
            read_rules(path)
        assert "secret" not in caught.value.message
    with pytest.raises(UsageError, match="cannot be read"):
        ChannelRules(url_file=tmp_path / "nowhere").address()


def test_every_kind_has_its_runbook() -> None:
    folder = Path(__file__).parents[3]
    for kind in KINDS:
        _, page = AlertRules().owner_of(Alert(kind, "s", "low", "t"))
        text = (folder / page).read_text()
        assert "## What to do" in text


def test_a_named_owner_of_everything_is_everybodys() -> None:
    found = AlertRules(responsible=(Responsible(owner="operator"),))
    assert all(found.owner_of(Alert(kind, "s", "low", "t"))[0] == "operator" for kind in KINDS)
