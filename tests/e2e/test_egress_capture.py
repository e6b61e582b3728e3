"""Everything that real SuperNodes send, read before encryption: nobody's row is in it."""

from __future__ import annotations

import csv
import json
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from e2e.capture import sitecustomize
from e2e.capture.search import GROUPS, OUTCOMES, Canary, Frames, leaks
from e2e.capture.sent import Notes, Sent, numbers_of
from flwr.app import Message
from flwr.proto.fleet_pb2 import PushMessagesRequest
from flwr.proto.message_pb2 import PushObjectRequest
from flwr.supercore.inflatable.inflatable_object import get_all_nested_objects, get_object_tree
from running import environment

from fedrisk.federation.engines.flower import toml_strings
from fedrisk.federation.engines.local import LocalEngine
from fedrisk.federation.engines.processes import Processes
from fedrisk.federation.packing import pack, unpack
from fedrisk.federation.provisioning.keys import make_signing_pair
from fedrisk.federation.query import MESSAGE_TYPES
from fedrisk.home import Home
from fedrisk.models.bins import feature_centre
from fedrisk.sites.approvals import approve
from fedrisk.sites.egress.gate import Released
from fedrisk.sites.folder import open_site
from fedrisk.sites.policy import Policy, write_policy
from fedrisk.study import Study, parse_study
from fedrisk.study.training import TrainingRequest

pytestmark = [
    pytest.mark.federation,
    pytest.mark.skipif(sys.platform != "linux", reason="processes are told apart as on Linux"),
]

NOW = datetime(2026, 1, 1, tzinfo=UTC)
#: The site without a policy, of one person on each side of the split: its sums are that person's.
OPEN_SITE = "tiny"
GUARDED = ("north", "south")
#: Fewer people, or fewer with either outcome in a group of scores, are a small group
#: (docs/policy.md).
LEAST = (Policy().contributors, Policy().pair_contributors)
#: A level so rare that to count it is to point at people.
RARE = "x"


def make_study() -> Study:
    features = [
        {"name": "age", "kind": "number", "minimum": 0, "maximum": 120},
        {"name": "pressure", "kind": "number", "missing": "allow"},
        {"name": "marker", "kind": "number"},
        {"name": "sex", "kind": "category", "levels": ["f", "m", RARE], "missing": "allow"},
    ]
    keys = {"name": "watched", "label": "died", "positive": [1], "id": "patient", "split": "fold"}
    return parse_study(keys | {"features": features})


def canaries_of(site: str) -> list[Canary]:
    """Three people of the rare level with numbers that nobody else has."""
    random = np.random.default_rng(sum(site.encode()))
    return [
        Canary(
            f"CANARY-{site}-{number}-{random.integers(1 << 40):x}",
            {
                "age": round(float(random.uniform(60, 70)), 9),
                "pressure": round(float(random.uniform(140, 150)), 9),
                "marker": round(float(random.uniform(0.5, 0.9)), 12),
            },
        )
        for number in range(3)
    ]


def write_rows(path: Path, site: str, others: int) -> Path:
    random = np.random.default_rng(others)
    planted = canaries_of(site) if others else canaries_of(site)[:2]
    with path.open("w", newline="", encoding="utf-8") as file:
        writer = csv.writer(file)
        writer.writerow(["patient", "age", "pressure", "marker", "sex", "died", "fold"])
        for number, canary in enumerate(planted):
            values = [repr(value) for value in canary.values.values()]
            fold = "test" if number == 1 else "train"
            writer.writerow([canary.id, *values, RARE, number % 2, fold])
        for row in range(others):
            age, pressure = random.uniform(20, 95), random.normal(130, 20)
            died = int(random.random() < 1 / (1 + np.exp(3 - 0.04 * age)))
            shown = "" if random.random() < 0.1 else f"{pressure:.1f}"
            sex = random.choice(["f", "m", ""], p=[0.5, 0.45, 0.05])
            fold = "test" if random.random() < 0.3 else "train"
            marker = f"{random.exponential():.2f}"
            writer.writerow([f"{site}-{row}", f"{age:.1f}", shown, marker, sex, died, fold])
    return path


def make_folder(folder: Path, site: str, data: Path, study: Study) -> Path:
    """A site's folder with the default policy, and the study approved."""
    folder.mkdir()
    (folder / "site.toml").write_text(toml_strings(site=site, data=str(data)))
    write_policy(folder / "policy.toml")
    make_signing_pair(folder, "signing")
    approve(folder / "approvals.json", study, "the site's operator", NOW)
    return folder


@dataclass
class Watched:
    """Processes as the engine starts them; SuperNodes of guarded sites get their folder."""

    processes: Processes
    folders: Mapping[str, Path]
    started: dict[str, list[str]]
    scripts: Path = Path("none")

    def __getattr__(self, name: str) -> Any:
        return getattr(self.processes, name)

    def start(self, name: str, argv: Sequence[str]) -> None:
        self.started[name] = list(argv)
        if name == "superlink":
            self.listen_to_isolated()
        site = name.removeprefix("supernode-")
        if site in self.folders:
            config = Path(self.option(name, "--node-config"))
            config.write_text(config.read_text() + toml_strings(folder=str(self.folders[site])))
        self.processes.start(name, argv)

    def listen_to_isolated(self) -> None:
        """Let the commands that Python isolates from its environment (-I) note what they send."""
        for script in self.scripts.rglob("*"):
            if script.is_file():
                script.write_text(script.read_text().replace(" -I -m ", " -m "))

    def option(self, name: str, flag: str) -> str:
        return self.started[name][self.started[name].index(flag) + 1]


@dataclass(frozen=True)
class WatchedEngine(LocalEngine):
    """The local engine, whose processes note what they send."""

    folders: Mapping[str, Path] = field(default_factory=dict)
    started: dict[str, list[str]] = field(default_factory=dict)
    closing: list[Processes] = field(default_factory=list)

    def _start(self, processes: Processes, *rest: Any) -> None:
        watched = Watched(processes, self.folders, self.started, self.home.federation / "scripts")
        super()._start(watched, *rest)
        self.closing.append(processes)

    def close(self) -> None:
        """Close the pipe by which ended processes were told of."""
        for processes in self.closing:
            processes._guardian.stdout.close()

    def sent_by(self, site: str, notes: Notes) -> Sent:
        watched = Watched(None, {}, self.started)
        name = f"supernode-{site}"
        return notes.of_site(
            Path(watched.option(name, "--node-config")), int(watched.option(name, "--port"))
        )


@dataclass(frozen=True)
class Federation:
    """A finished run, and what its sites sent."""

    home: Home
    folders: Mapping[str, Path]
    files: Mapping[str, Path]
    sent: Mapping[str, Sent]
    frames: Frames
    superlink_port: str

    def leaks(self, site: str) -> set[str]:
        paths = [self.files[site], self.files[site].parent, self.home.root]
        paths += [self.folders[site]] if site in self.folders else []
        canaries = canaries_of(site)
        return leaks(self.sent[site], canaries, self.frames, paths, *LEAST)


@pytest.fixture(scope="module", params=["resident", "stock"])
def federation(
    request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory
) -> Federation:
    """Two guarded sites and an open one train and evaluate, by either way to start Flower."""
    place, study = tmp_path_factory.mktemp("watched"), make_study()
    rows = {"north": 900, "south": 500, OPEN_SITE: 0}
    files = {site: write_rows(place / f"{site}.csv", site, count) for site, count in rows.items()}
    folders = {
        site: make_folder(place / f"{site}-folder", site, files[site], study) for site in GUARDED
    }
    (place / "notes").mkdir()
    code = str(Path(sitecustomize.__file__).parent)
    base = environment(PYTHONPATH=code, **{sitecustomize.FOLDER: str(place / "notes")})
    home = Home(place / "home").prepare()
    resident = request.param == "resident"
    engine = WatchedEngine(home, base, datetime.now(UTC), resident, folders=folders)
    asked = TrainingRequest(
        run_id="watched",
        study=study,
        sites=tuple(sorted(files)),
        as_of=NOW.isoformat(),
        strategy="fedavg",  # asks questions of every kind, and few
        rounds=1,
    )
    outcome = engine.run(asked, files, lambda _record: None, lambda _line: None)
    engine.close()
    assert outcome.get("version"), outcome
    notes = Notes(place / "notes")
    sent = {site: engine.sent_by(site, notes) for site in files}
    model = json.loads((home.run("watched") / "result.json").read_text())["model"]
    scale = {c["name"]: (c["mean"], c["scale"]) for c in model["columns"] if c["kind"] == "value"}
    centres = {feature.name: (feature_centre(feature), 1.0) for feature in study.numbers}
    frames = {"centred": centres, "standardised": scale}
    port = engine.started["superlink"][engine.started["superlink"].index("--port") + 1]
    return Federation(home, folders, files, sent, frames, port)


@pytest.mark.parametrize("site", GUARDED)
def test_nothing_of_a_person_leaves(federation: Federation, site: str) -> None:
    assert federation.leaks(site) == set()


@pytest.mark.parametrize("site", GUARDED)
def test_all_that_left_is_in_the_log_and_all_in_the_log_was_seen(
    federation: Federation, site: str
) -> None:
    entries = open_site(federation.folders[site]).log.verify()
    assert [entry["outcome"] for entry in entries] == ["released"] * len(entries)
    others = {"comparison", "placement"}  # of models that are there; a training run asks the rest
    assert {entry["kind"] for entry in entries} == set(MESSAGE_TYPES) - others
    seen = []
    for reply in federation.sent[site].replies:
        (record,) = reply.content.array_records.values()
        seen.append(Released(unpack(record)).digest)
    assert seen == [entry["payload"] for entry in entries]


@pytest.mark.parametrize("site", [*GUARDED, OPEN_SITE])
def test_a_site_sends_to_the_coordinator_alone(federation: Federation, site: str) -> None:
    sent = federation.sent[site]
    assert {to for _, _, to in sent.streams} == {f"127.0.0.1:{federation.superlink_port}"}
    assert {request.path.rpartition("/")[0] for request in sent.requests} == {"/v1/fleet"}
    # Nothing is packed in a way that a search of bytes would not look through.
    assert not any("content-encoding" in request.headers for request in sent.requests)


@pytest.mark.parametrize("site", [*GUARDED, OPEN_SITE])
def test_every_process_of_a_site_was_watched(federation: Federation, site: str) -> None:
    assert {"flower-supernode", "flwr-clientapp"} <= federation.sent[site].programs


def test_the_search_finds_people_where_no_policy_stands(federation: Federation) -> None:
    """The same capture and search, of a site whose sums are one person's."""
    found = federation.leaks(OPEN_SITE)
    assert {
        "centred age in feature_summary/sums",
        "pressure in feature_summary/sums",
        "marker * marker in feature_summary/squares",
        "standardised pressure, weighted, in newton_sums/gradient",
        "standardised marker, weighted, in newton_sums/hessian",
        "count below 10 in site_counts/train",
        "count below 10 in feature_summary/levels",
        "count below 10 in evaluation_sums/bin_rows",
        "events below 5 in a group",
    } <= found


def posted(call: str, body: bytes) -> bytes:
    head = f"POST /v1/fleet/{call} HTTP/1.1\r\ncontent-length: {len(body)}\r\n\r\n"
    return head.encode() + body


def pushed(message: Message) -> bytearray:
    """A message as a SuperNode sends it."""
    body = PushMessagesRequest(message_object_trees=[get_object_tree(message)])
    stream = bytearray(posted("push-messages", body.SerializeToString()))
    for identifier, part in get_all_nested_objects(message).items():
        one = PushObjectRequest(object_id=identifier, object_content=part.deflate())
        stream += posted("push-object", one.SerializeToString())
    return stream


def test_the_search_finds_bytes_that_are_added_to_what_was_sent(federation: Federation) -> None:
    canary, path = canaries_of("north")[0], federation.files["north"]
    age, pressure, marker = canary.values.values()
    added = {
        f"id {canary.id}": canary.id.encode(),
        f"path {path.name}": f'{{"reason": "{path}: no such file"}}'.encode(),
        "age as text": json.dumps({"row": [age]}).encode(),
        "age rounded": f"{age:.4f}".encode(),
        "pressure as <float": np.array([1.0, pressure], "<f4").tobytes(),
        "marker as >double": np.array([marker], ">f8").tobytes(),
    }
    clean = federation.sent["north"]
    for what, data in added.items():
        extra = {("1", "here", "there"): bytearray(posted("any", data))}
        dirty = Sent(clean.streams | extra, clean.programs, clean.elsewhere)
        assert what in leaks(dirty, [canary], federation.frames, [path], *LEAST)


def test_the_search_finds_numbers_that_are_added_to_a_reply(federation: Federation) -> None:
    canary = canaries_of("north")[0]
    age, pressure, _ = canary.values.values()
    mean, width = federation.frames["standardised"]["age"]
    hidden = np.array([[0.5, age * pressure], [-(((age - mean) / width) ** 2), 3.0]])
    replies = federation.sent["north"].replies
    clean = Sent({("1", "", ""): pushed(replies[0])})
    assert leaks(clean, [canary], federation.frames, [], *LEAST) == set()

    replies[0].content["extra"] = pack({"newton_sums/hessian": hidden})
    dirty = Sent({("1", "", ""): pushed(replies[0])})
    assert leaks(dirty, [canary], federation.frames, [], *LEAST) == {
        "age * pressure in newton_sums/hessian",
        "standardised age * standardised age in newton_sums/hessian",
        "count below 10 in newton_sums/hessian",
    }


@pytest.mark.parametrize(("events", "few"), [(4, "events"), (16, "non-events")])
def test_the_search_finds_few_outcomes_in_a_group(
    federation: Federation, events: int, few: str
) -> None:
    sent = replace(federation.sent["north"])  # its replies are put together anew
    (reply,) = (one for one in sent.replies if OUTCOMES in numbers_of(one))
    arrays = unpack(reply.content["arrays"])
    group = int(np.argmax(arrays[GROUPS]))
    for name, count in ((GROUPS, 20), (OUTCOMES, events)):
        arrays[name] = arrays[name].copy()
        arrays[name][group] = count
    reply.content["arrays"] = pack(arrays)
    dirty = Sent({("1", "", ""): pushed(reply)})
    assert leaks(dirty, [], federation.frames, [], *LEAST) == {f"{few} below 5 in a group"}
