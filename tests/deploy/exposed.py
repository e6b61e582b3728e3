"""What a running system exposes: every figure with its labels, told by the real collectors."""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

from prometheus_client import generate_latest
from prometheus_client.parser import text_string_to_metric_families
from serving.conftest import ROW, TestClient, store

from fedrisk.federation.progress import Progress
from fedrisk.federation.provisioning.coordinator import Federation, new_settings
from fedrisk.federation.provisioning.site import SiteFolder
from fedrisk.federation.supervision.coordinator import Coordinator
from fedrisk.federation.supervision.site import Site
from fedrisk.federation.traffic import Traffic
from fedrisk.home import Home
from fedrisk.registry.follower_status import FollowerStatus, write_status
from fedrisk.retraining.watch import Finished
from fedrisk.retraining.watch_figures import WatchFigures
from fedrisk.serving.app import create_app
from fedrisk.serving.capture import Capture
from fedrisk.serving.challenger import TrialRules
from fedrisk.study.training import RoundRecord

NOW = datetime.now(UTC)
Labels = dict[str, set[str]]
#: Of programs that are not ours, as they are documented.
OTHERS: Labels = {
    "up": set(),
    "prometheus_rule_evaluation_failures_total": {"rule_group"},
    "alertmanager_notifications_failed_total": {"integration", "reason"},
}
#: What Prometheus adds to every series.
ADDED = {"job", "instance"}


@dataclass(frozen=True)
class Running:
    """Text of every exposition, by the job that scrapes it."""

    texts: dict[str, str]

    def labels(self) -> Labels:
        """Labels of each series, by its name."""
        found: Labels = {name: set(labels) | ADDED for name, labels in OTHERS.items()}
        for text in self.texts.values():
            for family in text_string_to_metric_families(text):
                for sample in family.samples:
                    known = found.setdefault(sample.name, set(ADDED))
                    known |= set(sample.labels)
        return found


def start(folder: Path) -> Running:
    """A server that scored, a coordinator with a run, a site that answered, a watch that looked."""
    return Running(dict(_texts(folder)))


def _texts(folder: Path) -> Iterator[tuple[str, str]]:
    yield "inference", inference(folder / "home")
    federation = made_federation(folder)
    yield "coordinator", coordinator(federation)
    yield "site", site(folder / "north")
    yield "watch", generate_latest(watch().registry).decode()


def inference(root: Path) -> str:
    """Figures of the API after a prediction, a mistake, and a row for a challenger."""
    home = Home(root).prepare()
    store(home)
    write_challenger(home)
    write_status(home.follower_status, FollowerStatus("following", NOW.isoformat()))
    capture = Capture("test", lambda windows: None, lambda: datetime.now(UTC))
    app = create_app(home, capture=capture, trial_rules=TrialRules(0.5, True))
    with TestClient(app) as client:
        for number in range(20):
            headers = {"x-canary-key": str(number)}
            assert client.post("/predict", json=ROW, headers=headers).status_code == 200
        client.post("/predict", json=ROW | {"age": 101})
        client.post("/predict", json=ROW | {"age": 500})
        app.door.lifecycle.connection_ended("head")
        return client.get("/metrics").text


def write_challenger(home: Home) -> None:
    """Another fitted model as challenger."""
    from serving.conftest import fit

    from fedrisk.models.checks import make_checks
    from fedrisk.registry.cache import write_model

    model, bins = fit(seed=2)
    document, checks = model.document(), make_checks(model)
    write_model(home.challenger, document, bins, checks, name="clinic", version="2", run_id="run2")


def made_federation(folder: Path) -> Federation:
    """A federation with one approved site and a finished run."""
    from fedrisk.federation.engines.processes import free_ports

    (port,) = free_ports(1)
    settings = new_settings(["127.0.0.1"], port, listen="127.0.0.1")
    made = Federation.create(folder / "federation", settings, NOW)
    rows = folder / "rows.csv"
    rows.write_text("a\n1\n")
    joined = SiteFolder.create(folder / "north", made.invite("north", NOW), rows)
    made.approve("north", joined.request(), NOW)
    return made


def coordinator(federation: Federation) -> str:
    """Figures of a coordinator, the second look after a round and a countersigned head."""
    from fedrisk.attestation import countersign, read_private, sign_head

    status = json.dumps({"time": NOW.isoformat(), "bytes": 5, "ok": True})
    (federation.folder / "backup-status.json").write_text(status)
    key = read_private(federation.folder.parent / "north" / "signing.key")
    head = sign_head("north", 1, "ab" * 32, NOW.isoformat(), key)
    own = read_private(federation.folder / "coordinator.key")
    (federation.folder / "heads").mkdir()
    receipt = countersign(head, NOW.isoformat(), own)
    (federation.folder / "heads" / "north.json").write_text(receipt.text())
    traffic = Traffic()
    traffic.admitted("north", NOW.timestamp())
    traffic.write(federation.folder)
    made = Coordinator(federation, {}, False, lambda *_, **__: None, NOW)
    made.supervisor = made._make_supervisor(None)
    registry = made._registry()
    generate_latest(registry)
    run = Progress(federation.home / "runs" / "r")
    run.add(RoundRecord(number=1, kind="summary", seconds=2.0, dropped={"north": "late"}))
    run.succeed()
    return generate_latest(registry).decode()


def site(folder: Path) -> str:
    """Figures of a site that answered once."""
    from fedrisk.sites.folder import open_site

    open_site(folder).log.append(NOW.isoformat(), {"outcome": "released"})
    made = Site(SiteFolder.open(folder), {}, False, lambda *_, **__: None)
    made.supervisor = made._make_supervisor(None)
    return generate_latest(made._registry()).decode()


def watch() -> WatchFigures:
    """Figures of a watch after drift and a retraining."""
    figures = WatchFigures(lambda: NOW)
    feature = {"effect": 1.5, "q_value": 0.01}
    verdict = {
        "verdict": "drift",
        "severity": "medium",
        "per_feature": {"age": feature},
        "per_site": {"north": {"rows": 100, "status": "drift"}},
    }
    figures("drift", Finished(0, verdict))
    figures("retrain", Finished(0, {"state": "refused", "gate": {"verdict": "refuse"}}))
    return figures
