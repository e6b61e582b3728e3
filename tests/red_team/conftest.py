"""A curious coordinator against one real site: its folder, its policy, its entry point."""

from __future__ import annotations

import csv
import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any
from uuid import uuid4

import numpy as np
import pytest
from flwr.app import Context, Message, RecordDict
from flwr.supercore.task_identity import TaskIdentity

from fedrisk.federation.client_app import handle
from fedrisk.federation.packing import unpack
from fedrisk.federation.provisioning.keys import make_signing_pair
from fedrisk.federation.query import MESSAGE_TYPES, Query, Reply
from fedrisk.models.design_matrix import DesignMatrix, design_from_summary
from fedrisk.models.newton import NewtonSums
from fedrisk.models.summary import FeatureSummary, summary_dimensions
from fedrisk.sites.approvals import approve
from fedrisk.sites.disclosure import review as disclosure
from fedrisk.sites.policy import OPEN, Policy, write_policy
from fedrisk.study import Study, parse_study
from fedrisk.study.records import FloatArray

AS_OF = "2026-01-01T00:00:00+00:00"
Row = dict[str, Any]
FEATURES: list[dict[str, Any]] = [
    {"name": "age", "kind": "number", "minimum": 0, "maximum": 120},
    {"name": "crp", "kind": "number", "missing": "allow"},
    {"name": "sex", "kind": "category", "levels": ["f", "m"]},
    {"name": "ward", "kind": "category", "levels": ["a", "b", "c"]},
]
#: The row that the attacks are after: far from the others in age, an event, for training.
TARGET: Row = {"age": 118.0, "crp": 151.5, "sex": "m", "ward": "b", "died": 1, "fold": "train"}


def make_study(features: Sequence[Mapping[str, Any]] = FEATURES, **keys: Any) -> Study:
    about = {"name": "ward", "label": "died", "positive": [1], "split": "fold"}
    return parse_study(about | {"features": list(features)} | keys)


def make_rows(count: int = 600, test: int = 120, seed: int = 7) -> list[Row]:
    """Ordinary rows: ages 35 to 66, both sexes, two wards, one in five an event."""
    random = np.random.default_rng(seed)
    return [
        {
            "age": round(float(np.clip(random.normal(50, 8), 35, 66)), 3),
            "crp": "" if random.random() < 0.1 else round(float(random.gamma(2, 10)), 3),
            "sex": str(random.choice(["f", "m"])),
            "ward": str(random.choice(["a", "b"])),
            "died": int(random.random() < 0.2),
            "fold": "train" if place < count else "test",
        }
        for place in range(count + test)
    ]


def write_rows(path: Path, rows: Sequence[Row]) -> None:
    with path.open("w", newline="", encoding="utf-8") as file:
        writer = csv.DictWriter(file, list(rows[0]))
        writer.writeheader()
        writer.writerows(rows)


@dataclass
class Site:
    """One site's folder, as `fedrisk site init` makes it, and the messages that it gets."""

    folder: Path
    name: str
    run: str = "run-1"
    policy: Policy = field(default_factory=Policy)

    def has(self, rows: Sequence[Row]) -> Site:
        """The site's file holds these rows from now on."""
        write_rows(self.folder / "rows.csv", rows)
        return self

    def set(self, policy: Policy) -> Site:
        self.policy = policy
        write_policy(self.folder / "policy.toml", policy)
        return self

    def without(self, *keys: str) -> Site:
        """Switch off these keys of the default policy, and no others."""
        return self.set(Policy().model_copy(update={key: getattr(OPEN, key) for key in keys}))

    def with_only(self, *keys: str) -> Site:
        """Switch off all but these keys."""
        return self.set(OPEN.model_copy(update={key: getattr(Policy(), key) for key in keys}))

    def approves(self, study: Study) -> Study:
        approve(self.folder / "approvals.json", study, "Dr Example", datetime.now(UTC))
        return study

    def content(self, query: Query) -> RecordDict:
        """Send a question as Flower would; what comes back."""
        message = Message(query.content(), 1, MESSAGE_TYPES.get(query.kind, "query"))
        message.metadata.__dict__["_message_id"] = uuid4().hex
        context = Context(1, 1, {"folder": str(self.folder)}, RecordDict(), {})
        return handle(message, context).content

    def ask(self, query: Query) -> Reply:
        """The answer; AssertionError with the reason of a refusal."""
        content = self.content(query)
        if "refusal" in content.config_records:
            raise AssertionError(str(content.config_records["refusal"]["reason"]))
        arrays = unpack(content.array_records["arrays"])
        return Reply("ward", arrays, 0)

    def refuses(self, query: Query) -> str:
        """The reason of the refusal that this question gets; it must get one, and only that."""
        content = self.content(query)
        assert "refusal" in content.config_records, "the site answered"
        assert not content.array_records
        assert not content.metric_records
        return str(content.config_records["refusal"]["reason"])

    def summary(self, study: Study, **changes: Any) -> FeatureSummary:
        query = Query("summary", study, self.run, AS_OF)
        reply = self.ask(replace(query, **changes))
        return reply.record(FeatureSummary, summary_dimensions(study))

    def design(self, study: Study) -> DesignMatrix:
        return design_from_summary(study, self.summary(study))

    def query(self, study: Study, design: DesignMatrix, *vectors: FloatArray) -> Query:
        return Query("newton", study, self.run, AS_OF, design, np.array(vectors))

    def sums(self, query: Query) -> NewtonSums:
        return self.ask(query).record(NewtonSums, query.dimensions)


def make_site(folder: Path, name: str, data: Path) -> Site:
    """A site's folder, with a policy of safe defaults, over the rows in a file."""
    (folder / "egress").mkdir(parents=True)
    make_signing_pair(folder, "signing")
    settings = {"site": name, "data": str(data), "federation": "f", "coordinator_key": ""}
    lines = [f"{key} = {json.dumps(value)}" for key, value in settings.items()]
    (folder / "site.toml").write_text("\n".join(lines) + "\n", encoding="utf-8")
    write_policy(folder / "policy.toml")
    TaskIdentity.task_id, TaskIdentity.run_id, TaskIdentity.node_id = 1, 1, 0
    return Site(folder, name)


@pytest.fixture
def site(tmp_path: Path) -> Site:
    made = make_site(tmp_path / "site", "ward", Path("rows.csv"))
    return made.has([*make_rows(), TARGET])


@pytest.fixture
def study(site: Site) -> Study:
    return site.approves(make_study())


@pytest.fixture
def drop_rules(monkeypatch: pytest.MonkeyPatch) -> Callable[..., None]:
    """Switch off rules that no key of the policy switches off."""

    def drop(*names: str) -> None:
        left = tuple(rule for rule in disclosure.RULES if rule.__name__ not in names)
        assert len(left) == len(disclosure.RULES) - len(names)
        monkeypatch.setattr(disclosure, "RULES", left)

    return drop


def vector(design: DesignMatrix, intercept: float, **coefficients: float) -> FloatArray:
    """Parameters by name of column; ``__`` stands for ``=`` and for ``:``."""
    named = {name.replace("__", "="): value for name, value in coefficients.items()}
    return np.array([intercept, *[named.get(column.name, 0.0) for column in design.columns]])


def unscaled(design: DesignMatrix, standardised: FloatArray) -> dict[str, float]:
    """A row's values from its standardised ones, by name of column."""
    return {
        column.name: float(column.mean + column.scale * value)
        for column, value in zip(design.columns, standardised, strict=True)
    }


def raw_moments(design: DesignMatrix, hessian: FloatArray) -> FloatArray:
    """The weighted moments of the columns before standardisation, the intercept first."""
    size = len(design.columns) + 1
    back = np.eye(size)
    for place, column in enumerate(design.columns, start=1):
        back[place, place], back[place, 0] = column.scale, column.mean
    return back @ hessian @ back.T
