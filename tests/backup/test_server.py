"""Everything is destroyed and restored: the champion answers as before, and logs verify.

Databases in a real PostgreSQL, a coordinator's and a site's folder, the scripts as operators run
them.
"""

from __future__ import annotations

import csv
import json
import shutil
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path

import numpy as np
import pytest
from egress_history import fields, moment
from postgresql import PostgreSQL, needs_postgresql, postgresql
from running import COMMAND, environment

from fedrisk.attestation import countersign, read_private
from fedrisk.federation.provisioning.coordinator import Federation, new_settings
from fedrisk.federation.provisioning.site import SiteFolder
from fedrisk.home import Home
from fedrisk.profiles import Profile, Window
from fedrisk.profiles.store import WindowStore
from fedrisk.sealing import make_keys
from fedrisk.sites.folder import open_site
from fedrisk.study import parse_study

pytestmark = [needs_postgresql, pytest.mark.slow]
SCRIPTS = Path(__file__).parents[2] / "scripts"
NOW = datetime(2026, 1, 1, 12, tzinfo=UTC)
STUDY = parse_study(
    {
        "name": "recovery",
        "label": "ill",
        "positive": [1],
        "features": [
            {"name": "heat", "kind": "number", "unit": "degC", "minimum": -50, "maximum": 60}
        ],
    }
)


@dataclass
class World:
    """What an operator has."""

    folder: Path
    server: PostgreSQL
    rows: Path

    @property
    def home(self) -> Path:
        return self.folder / "home"

    def address(self, name: str) -> str:
        return self.server.url.rpartition("/")[0] + f"/{name}"

    @property
    def settings(self) -> dict[str, str]:
        return {
            "FEDRISK_TRACKING_URI": self.address("mlflow"),
            "FEDRISK_DATABASE_URL": self.address("fedrisk"),
        }

    def run(self, *words: object, ok: bool = True) -> str:
        command = [*COMMAND, *map(str, words)]
        return call(command, ok=ok, **self.settings)

    def script(self, name: str, *words: object, ok: bool = True) -> str:
        command = [str(SCRIPTS / name), *map(str, words)]
        return call(command, ok=ok, FEDRISK_COMMAND=COMMAND[0])

    def databases(self) -> list[str]:
        names = ("mlflow", "fedrisk")
        return [w for n in names for w in ("--database", f"{n}={self.address(n)}")]

    def answers(self) -> bytes:
        """The champion's scores of some rows."""
        output = self.folder / "scores.csv"
        output.unlink(missing_ok=True)
        self.run("score", "--home", self.home, "--input", self.rows, "--output", output)
        return output.read_bytes()

    def windows(self) -> list[str]:
        store = WindowStore(self.address("fedrisk"))
        try:
            found = store.between("recovery", NOW - timedelta(days=1), NOW + timedelta(days=1))
        finally:
            store.close()
        return [each.id for each in found]

    def destroy(self) -> None:
        """All that a fire would take."""
        for name in ("home", "coordinator", "site"):
            shutil.rmtree(self.folder / name, ignore_errors=True)
        for name in ("mlflow", "fedrisk"):
            self.server.ask(f"DROP DATABASE IF EXISTS {name} WITH (FORCE)")
            self.server.ask(f"CREATE DATABASE {name}")


def call(command: list[str], *, ok: bool, **settings: str) -> str:
    done = subprocess.run(
        command, capture_output=True, text=True, env=environment(**settings), check=False
    )
    assert (done.returncode == 0) is ok, done.stdout + done.stderr
    return done.stdout if ok else done.stderr


def write_rows(path: Path, seed: int) -> Path:
    random = np.random.default_rng(seed)
    with path.open("w", newline="", encoding="utf-8") as file:
        writer = csv.writer(file)
        writer.writerow(["heat", "ill"])
        for heat in random.normal(15, 8, 400):
            writer.writerow([f"{heat:.2f}", int(random.random() < 1 / (1 + np.exp(2 - heat / 9)))])
    return path


TRAIN = """
import sys
from datetime import UTC, datetime
from pathlib import Path
from fedrisk.cli.federating import Federating
from fedrisk.home import Home
from fedrisk.registry.promotion import promote
from fedrisk.settings import read_settings
sys.path.insert(0, {tests!r})
from backup.test_server import STUDY
from fedrisk.study.training import TrainingRequest

home, rows = Path({home!r}), Path({rows!r})
settings = read_settings().model_copy(update={{"home": home}})
asked = TrainingRequest(run_id="first", study=STUDY, sites=("north",), as_of="{now}")
trained = Federating.local(settings, {{"north": rows}}, engine="in_memory").train(asked)
promote(Home(home).existing(), settings, trained.version, "first", datetime.now(UTC))
"""


@pytest.fixture(scope="module")
def world(tmp_path_factory: pytest.TempPathFactory) -> Iterator[World]:
    folder = tmp_path_factory.mktemp("recovery")
    with postgresql() as server:
        world = World(folder, server, write_rows(folder / "rows.csv", 1))
        world.destroy()
        code = TRAIN.format(
            tests=str(Path(__file__).parents[1]),
            home=str(world.home),
            rows=str(world.rows),
            now=NOW.isoformat(),
        )
        call([sys.executable, "-c", code], ok=True, **world.settings)
        store = WindowStore(world.address("fedrisk"))
        profile = Profile.empty(STUDY)
        store.add([Window("w1", "recovery", "1", "a", NOW - timedelta(hours=1), NOW, profile)])
        store.close()
        provision(folder, world.rows)
        yield world


def provision(folder: Path, rows: Path) -> None:
    """A coordinator and a site that has answered; one head of its log is countersigned."""
    federation = Federation.create(
        folder / "coordinator", new_settings(["127.0.0.1"], 9092, listen="127.0.0.1"), NOW
    )
    site = SiteFolder.create(folder / "site", federation.invite("north", NOW), rows)
    federation.approve("north", site.request(), NOW)
    log = open_site(folder / "site").log
    for number in range(3):
        head = log.append(moment(number), fields(number))
    key = read_private(folder / "coordinator" / "coordinator.key")
    receipt = countersign(head, NOW.isoformat(), key).text()
    assert log.store_receipt(receipt)
    (folder / "coordinator" / "heads").mkdir(exist_ok=True)
    (folder / "coordinator" / "heads" / "north.json").write_text(receipt)
    log.append(moment(4), fields(4))


def test_after_a_fire_the_champion_answers_and_logs_verify(world: World) -> None:
    folder = world.folder
    before, keys = world.answers(), folder / "backup.key"
    world.run("backup", "keygen", "--output", keys)
    sealed = ("--recipient", f"{keys}.pub")
    places = ("--home", world.home, "--federation", folder / "coordinator")
    backups, sites_own = folder / "backups", folder / "site-backups"
    world.script("backup.sh", "--output", backups, *places, *world.databases(), *sealed)
    world.script("backup.sh", "--output", sites_own, "--site", folder / "site", *sealed)
    site = folder / "site"
    head = folder / "head-of-north.json"
    shutil.copy(folder / "coordinator" / "heads" / "north.json", head)
    authority = (folder / "coordinator" / "ca.crt").read_bytes()

    world.destroy()
    assert not world.home.exists()
    opened = ("--key", keys)
    world.script("restore.sh", backups, *places, *world.databases(), *opened)
    world.script("restore.sh", sites_own, "--site", site, *opened)

    assert world.answers() == before
    versions = json.loads(world.run("models", "--home", world.home, "--json"))
    assert "champion" in json.dumps(versions)
    assert world.windows() == ["w1"]
    told = json.loads(world.run("database", "check", "--home", world.home, "--json"))
    assert told["state"] == "current"
    world.run("site", "egress", "--verify", "--folder", site, "--head", head)
    assert len(open_site(site).log.verify()) == 4
    assert Federation.open(folder / "coordinator").members.read().sites["north"].status == (
        "approved"
    )
    assert (folder / "coordinator" / "ca.crt").read_bytes() == authority
    artifacts = Home(world.home).mlflow_artifacts
    assert any(artifacts.rglob("model.json"))


def test_a_site_restored_from_before_its_last_receipt_is_told_so(world: World) -> None:
    """The log lacks what left since: the coordinator's head tells, and so would a receipt."""
    site, place = world.folder / "site", world.folder / "old-site"
    world.script("backup.sh", "--output", world.folder / "site-old", "--site", site)
    log = open_site(site).log
    head = log.append(moment(5), fields(5))
    key = read_private(world.folder / "coordinator" / "coordinator.key")
    newer = world.folder / "newer.json"
    newer.write_text(countersign(head, NOW.isoformat(), key).text())
    world.script("restore.sh", world.folder / "site-old", "--site", place)
    world.run("site", "egress", "--verify", "--folder", place)
    told = world.run("site", "egress", "--verify", "--folder", place, "--head", newer, ok=False)
    assert "entry 5 is missing" in told


def test_a_database_in_use_is_refused_and_a_failed_restore_changes_nothing(world: World) -> None:
    backups = world.folder / "database-alone"
    words = ("--database", f"fedrisk={world.address('fedrisk')}")
    world.script("backup.sh", "--output", backups, *words)
    told = world.script("restore.sh", backups, *words, ok=False)
    assert "is not empty" in told
    store = WindowStore(world.address("fedrisk"))
    store.forget_before(NOW + timedelta(days=1))
    store.close()
    assert world.windows() == []
    world.script("restore.sh", backups, *words, "--force")
    assert world.windows() == ["w1"]
    dump = world.folder / "fedrisk.dump"
    world.script("restore.sh", backups, "--dump", f"fedrisk={dump}")
    dump.write_bytes(dump.read_bytes()[:-200])
    broken = world.folder / "broken"
    world.run("backup", "create", "--output", broken, "--dump", f"fedrisk={dump}")
    world.script("restore.sh", broken, *words, "--force", ok=False)
    assert world.windows() == ["w1"]


def test_a_password_in_an_address_is_refused(world: World) -> None:
    url = "postgresql+psycopg://u:hidden@127.0.0.1/d"
    told = world.run(
        "backup", "create", "--output", world.folder / "x", "--database", f"d={url}", ok=False
    )
    assert "hidden" not in told
    assert "password_file" in told


def test_a_password_of_a_file_is_used_and_seen_nowhere(world: World, tmp_path: Path) -> None:
    world.server.ask("ALTER ROLE fedrisk PASSWORD 'in use'")
    file = tmp_path / "password"
    file.write_text("not yet\nin use\n")
    rules = world.server.data / "pg_hba.conf"
    before = rules.read_text()
    world.server.require_passwords()
    try:
        word = f"fedrisk={world.address('fedrisk')}?password_file={file}"
        world.run("backup", "create", "--output", tmp_path / "b", "--database", word)
        file.write_text("wrong\n")
        told = world.run(
            "backup", "create", "--output", tmp_path / "b", "--database", word, ok=False
        )
        assert "pg_dump ended" in told
    finally:
        rules.write_text(before)
        world.server.ask("SELECT pg_reload_conf()")
    assert len(list((tmp_path / "b").glob("fedrisk-*"))) == 1


#: Stands for `docker compose`: a service's volume is a folder, PostgreSQL is the test's, and its
#: socket is not where clients look for it.
COMPOSE = """
import os, subprocess, sys
words = sys.argv[sys.argv.index("--file") + 2:]
with open({log!r}, "a") as log:
    log.write(" ".join(words[:6]) + chr(10))
if words[0] in ("stop", "start"):
    sys.exit(0)
while words[0] != "coordinator" and words[0] not in ("mlflow", "postgres"):
    words.pop(0)
service = words.pop(0)
if words[0] != "bash" and service != "postgres" and words[0].startswith("-"):
    words.insert(0, "bash")
volume = os.path.join({folder!r}, service)
words = [word.replace("/var/lib/fedrisk", volume) for word in words]
more = dict(PGHOST="/nowhere", PGPORT="{port}", PATH={path!r} + os.pathsep + os.environ["PATH"])
sys.exit(subprocess.run(words, env=os.environ | more).returncode)
"""


def test_a_compose_project_is_backed_up_and_restored(world: World, tmp_path: Path) -> None:
    volumes, log = tmp_path / "volumes", tmp_path / "log"
    (volumes / "coordinator").mkdir(parents=True)
    shutil.copytree(world.folder / "coordinator", volumes / "coordinator" / "federation")
    (volumes / "mlflow" / "artifacts").mkdir(parents=True)
    (volumes / "mlflow" / "artifacts" / "model.json").write_text("{}")
    stub = tmp_path / "compose.py"
    stub.write_text(
        COMPOSE.format(
            log=str(log),
            folder=str(volumes),
            port=world.server.port,
            path=str(Path(COMMAND[0]).parent),
        )
    )
    compose = {"COMPOSE": f"{sys.executable} {stub}", "COMPOSE_FILE": "none.yml"}

    def script(name: str, *words: object, ok: bool = True) -> str:
        return call([str(SCRIPTS / name), "compose", *map(str, words)], ok=ok, **compose)

    make_keys(tmp_path / "key")
    out = tmp_path / "out"
    place = script("backup.sh", "--output", out, "--recipient", tmp_path / "key.pub").strip()
    place = place.splitlines()[-1]
    world.run("backup", "verify", place, "--key", tmp_path / "key")
    assert json.loads((out / "backup-status.json").read_text())["ok"] is True
    assert not (volumes / "coordinator" / "backups" / ".staging").exists()

    (tmp_path / "no.pub").write_text("no key")
    script("backup.sh", "--output", out, "--recipient", tmp_path / "no.pub", ok=False)
    assert not (volumes / "coordinator" / "backups" / ".staging").exists()
    told = script("restore.sh", place, "--key", tmp_path / "key", ok=False)
    assert "is not empty" in told
    shutil.rmtree(volumes / "coordinator" / "federation")
    shutil.rmtree(volumes / "mlflow" / "artifacts")
    for name in ("mlflow", "fedrisk"):
        world.server.ask(f"DROP DATABASE {name} WITH (FORCE)")
    world.server.ask("CREATE DATABASE fedrisk")  # as the image of PostgreSQL makes it
    script("restore.sh", place, "--key", tmp_path / "key")
    assert (volumes / "mlflow" / "artifacts" / "model.json").read_text() == "{}"
    assert Federation.open(volumes / "coordinator" / "federation").members.read().sites
    assert world.windows() == ["w1"]
    assert "champion" in world.run("models", "--home", world.home, "--json")
    assert not (volumes / "coordinator" / "restore").exists()
    assert log.read_text().splitlines()[-1] == "start mlflow coordinator watch"

    file = next(Path(place).glob("folder-*"))
    file.write_bytes(file.read_bytes()[:-1])
    assert "not as it was written" in script(
        "restore.sh", place, "--key", tmp_path / "key", "--force", ok=False
    )
    assert log.read_text().splitlines()[-1] == "start mlflow coordinator watch"
    # The private key is not left where it failed.
    assert not (volumes / "coordinator" / "restore").exists()
