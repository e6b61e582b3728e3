"""A patient with observations, and an application that has them mapped."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import UTC, datetime
from typing import Any

import pytest
from serving.conftest import TestClient as TestClient
from serving.conftest import fit
from serving.conftest import home as home
from serving.conftest import stored as stored

from fedrisk.home import Home
from fedrisk.models.checks import make_checks
from fedrisk.registry.cache import StoredModel, write_model
from fedrisk.serving.app import create_app
from fedrisk.serving.lifecycle import Lifecycle

NOW = datetime(2024, 3, 1, 12, tzinfo=UTC)
LOINC = "http://loinc.org"
MAPPING = """
link = "https://risk.example/about"

[features."pm2.5"]
system = "http://loinc.org"
code = "0000-1"
unit = "ug/m3"
[features."pm2.5".conversions]
"mg/m3" = { factor = 1000 }

[features.marker]
system = "http://loinc.org"
code = ["0000-2", "0000-3"]
unit = "{score}"

[features.ward]
system = "http://loinc.org"
code = "0000-4"
[features.ward.levels]
"c d" = ["urn:wards|3"]
"""


def observed(code: str, quantity: dict | None = None, **more: Any) -> dict[str, Any]:
    """An Observation."""
    value = {} if quantity is None else {"valueQuantity": quantity}
    return {
        "resourceType": "Observation",
        "id": f"o{code}",
        "status": "final",
        "subject": {"reference": "Patient/p1"},
        "code": {"coding": [{"system": LOINC, "code": code}]},
        **value,
        **more,
    }


PATIENT = {"resourceType": "Patient", "id": "p1", "birthDate": "1952-05-01", "gender": "male"}
PM = observed("0000-1", {"value": 0.012, "code": "mg/m3", "unit": "mg"})
MARKER = observed("0000-3", {"value": -1.25})
WARD = observed("0000-4", valueCodeableConcept={"coding": [{"system": "urn:wards", "code": "3"}]})
ALL = [PATIENT, PM, MARKER, WARD]
#: What all of them say.
ROW = {"age": 71, "pm2.5": 12.0, "marker": -1.25, "sex": "male", "ward": "c d"}


def bundle(resources: list[Any]) -> dict[str, Any]:
    """A Bundle."""
    entries = [{"resource": resource} for resource in resources]
    return {"resourceType": "Bundle", "type": "collection", "entry": entries}


def challenge(home: Home) -> StoredModel:
    """Put a challenger, version 2, into a home."""
    model, bins = fit(seed=7)
    parts = model.document(), bins, make_checks(model)
    return write_model(home.challenger, *parts, name="clinic", version="2", run_id="run7")


@pytest.fixture
def client(home: Home, stored: Any) -> Iterator[Any]:
    home.fhir.write_text(MAPPING)
    # Never late: what is tested here is what is answered, however loaded the machine is.
    made = create_app(
        home, clock=lambda: NOW, lifecycle=Lifecycle(most_lag=float("inf")), watch_seconds=3600
    )
    with TestClient(made) as client:
        yield client
