"""The documentation loads nothing from another machine."""

from __future__ import annotations

import re
from collections.abc import Iterator

import pytest

from fedrisk.home import Home
from fedrisk.registry.cache import StoredModel
from fedrisk.serving.app import create_app

from .conftest import TestClient


@pytest.fixture
def client(home: Home, stored: StoredModel) -> Iterator[TestClient]:
    with TestClient(create_app(home, watch_seconds=3600)) as client:
        yield client


def test_page_loads_only_from_here(client: TestClient) -> None:
    page = client.get("/docs")
    assert page.status_code == 200
    loaded = re.findall(r'(?:src|href)="([^"]+)"', page.text)
    assert len(loaded) >= 2
    assert all(address.startswith("/") for address in loaded)
    assert all(client.get(address).status_code == 200 for address in loaded)


def test_page_names_the_description_that_is_served(client: TestClient) -> None:
    address = re.search(r"url: '([^']+)'", client.get("/docs").text)
    assert address is not None
    assert "/predict" in client.get(address.group(1)).json()["paths"]
