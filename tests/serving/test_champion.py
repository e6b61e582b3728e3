from __future__ import annotations

import asyncio
import json
import shutil
from datetime import UTC, datetime

import pytest

from fedrisk.errors import FedriskError, ModelFileError
from fedrisk.home import Home
from fedrisk.registry.cache import MODEL, StoredModel, clear_model, generation, read_model
from fedrisk.serving.app import create_app
from fedrisk.serving.champion import Champion

from .conftest import ROW, TestClient, store, until

NOON = datetime(2024, 2, 29, 12, tzinfo=UTC)


def champion(home: Home) -> Champion:
    return Champion(home.champion, clock=lambda: NOON)


def damage(home: Home) -> None:
    """Let the cache point to a generation whose model does not match its hash, in one step."""
    place = generation(home.champion)
    assert place is not None
    broken = place.with_name(f"{place.name}9")
    shutil.copytree(place, broken)
    text = (broken / MODEL).read_text()
    (broken / MODEL).write_text(text.replace('"intercept": ', '"intercept": 1'))
    link = place.with_name("link")
    link.symlink_to(broken.name)
    link.replace(home.champion)


def test_nothing_serves_before_there_is_a_model(home: Home) -> None:
    slot = champion(home)
    with pytest.raises(ModelFileError, match="not read yet"):
        slot.require()
    assert not slot.refresh()
    with pytest.raises(ModelFileError, match="no model in"):
        slot.require()


def test_a_model_is_loaded_once(home: Home, stored: StoredModel) -> None:
    slot = champion(home)
    assert slot.refresh()
    served = slot.require()
    assert (served.stored.digest, served.loaded_at) == (stored.digest, NOON)
    assert not slot.refresh()
    assert slot.served is served


def test_a_new_champion_takes_over(home: Home, stored: StoredModel) -> None:
    slot = champion(home)
    slot.refresh()
    old = slot.require().scorer.risk(ROW)
    store(home, "2", seed=2)
    assert slot.refresh()
    assert slot.require().identity == {"name": "clinic", "version": "2"}
    assert slot.require().scorer.risk(ROW) != old


def test_a_broken_champion_is_refused_and_the_old_one_stays(home, stored) -> None:
    news: list[object] = []
    slot = Champion(home.champion, clock=lambda: NOON, listener=news.append)
    slot.refresh()
    damage(home)
    assert not slot.refresh()
    assert not slot.refresh()
    assert slot.require().identity["version"] == "1"
    assert slot.refused is not None
    assert slot.refused["at"] == "2024-02-29T12:00:00+00:00"
    assert [isinstance(item, FedriskError) for item in news] == [False, True]
    store(home, "4", seed=4)
    assert slot.refresh()
    assert slot.refused is None


def test_a_cleared_cache_does_not_stop_the_model(home: Home, stored: StoredModel) -> None:
    slot = champion(home)
    slot.refresh()
    clear_model(home.champion)
    assert not slot.refresh()
    assert slot.require().identity["version"] == "1"
    assert "no model" in slot.reason


def test_a_scorer_that_differs_from_the_model_is_refused(home, stored, monkeypatch) -> None:
    monkeypatch.setattr("fedrisk.serving.scoring.sigmoid", lambda logit: 0.5)
    slot = champion(home)
    assert not slot.refresh()
    assert "self-test" in slot.reason
    assert read_model(home.champion).version == "1"


def test_the_watch_takes_up_a_new_model(home: Home, stored: StoredModel) -> None:
    async def scenario() -> None:
        slot = champion(home)
        slot.refresh()
        watching = asyncio.create_task(slot.watch(0.01))
        store(home, "2", seed=2)
        while slot.require().identity["version"] != "2":
            await asyncio.sleep(0.01)
        damage(home)
        while slot.refused is None:
            await asyncio.sleep(0.01)
        watching.cancel()
        assert slot.require().identity["version"] == "2"

    asyncio.run(asyncio.wait_for(scenario(), 30))


def test_the_api_reports_a_refused_model_and_goes_on(home: Home, stored: StoredModel) -> None:
    with TestClient(create_app(home, watch_seconds=0.01)) as client:
        damage(home)
        until(lambda: client.get("/ready").json()["refused"] is not None)
        answer = client.get("/ready")
        assert answer.status_code == 200
        assert answer.json()["model"]["version"] == "1"
        assert client.post("/predict", json=ROW).json()["model"]["version"] == "1"
        assert 'model_loads_total{result="refused"} 1.0' in client.get("/metrics").text
        json.dumps(answer.json())
