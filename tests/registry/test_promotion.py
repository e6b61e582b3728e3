"""The gate: who becomes champion, the way back, and what it refuses."""

from __future__ import annotations

import json
import shutil
from datetime import UTC, datetime
from pathlib import Path
from urllib.parse import unquote, urlsplit

import pytest
from hypothesis import given
from hypothesis import strategies as st

from fedrisk.errors import ModelFileError, ModelNotFoundError, RegistryError
from fedrisk.home import Home
from fedrisk.registry import promotion
from fedrisk.registry.cache import generation, read_model
from fedrisk.registry.promotion import (
    champions,
    promote,
    refresh_cache,
    register_outcome,
    rollback,
)
from fedrisk.registry.record import record_training
from fedrisk.registry.store import open_store
from fedrisk.registry.versions import aliases_of, get_version, list_versions
from fedrisk.settings import Settings

SETTINGS = Settings(tracking_uri=None, registry_name="")
OTHER = Settings(tracking_uri=None, registry_name="other")
NOW = datetime(2025, 3, 1, 12, tzinfo=UTC)


@pytest.fixture(scope="module")
def trained(tmp_path_factory, make_result):
    """A home with three recorded runs and no alias."""
    home = Home(tmp_path_factory.mktemp("trained") / "home").prepare()
    for seed in (1, 2, 3):
        record_training(make_result(f"run-{seed}", seed), home, SETTINGS)
    return home


@pytest.fixture
def home(trained, tmp_path):
    """A copy of it: the database is copied, the artifacts stay where they are."""
    copy = Home(tmp_path / "home").prepare()
    copy.mlflow_database.parent.mkdir()
    shutil.copy(trained.mlflow_database, copy.mlflow_database)
    return copy


def _release(home, number, promote=False):
    return register_outcome(home, SETTINGS, f"run-{number}", promote, NOW)


def _aliases(home):
    return aliases_of(open_store(home, SETTINGS), "heart")


def test_the_first_is_champion_and_later_ones_challenge(home):
    assert _release(home, 1).alias == "champion"
    assert _release(home, 2).alias == "challenger"
    assert _release(home, 3).alias == "challenger"
    assert _aliases(home) == {"champion": "1", "challenger": "3"}
    assert read_model(home.champion).version == "1"
    assert read_model(home.challenger).version == "3"


def test_a_run_that_asks_for_it_is_champion(home):
    _release(home, 1)
    released = _release(home, 2, promote=True)
    assert (released.version, released.alias, released.name) == ("2", "champion", "heart")
    assert _aliases(home) == {"champion": "2", "previous": "1"}
    assert read_model(home.champion).run_id == "run-2"


def test_asking_twice_changes_nothing(home):
    _release(home, 1)
    before = generation(home.champion)
    assert _release(home, 1).alias == "champion"
    _release(home, 2)
    assert _release(home, 2).alias == "challenger"
    assert generation(home.champion) == before
    assert len(get_version(open_store(home, SETTINGS), "heart", "2").moves) == 1


def test_the_promoted_challenger_is_no_longer_challenger(home):
    _release(home, 1)
    _release(home, 2)
    promote(home, SETTINGS, "2", "better at every site", NOW)
    assert _aliases(home) == {"champion": "2", "previous": "1"}
    with pytest.raises(ModelNotFoundError):
        read_model(home.challenger)


def test_rollback_leads_back_step_by_step_and_then_ends(home):
    for number in (1, 2, 3):
        _release(home, number, promote=True)
    assert rollback(home, SETTINGS, "worse", NOW).version == "2"
    assert _aliases(home) == {"champion": "2", "previous": "1"}
    assert rollback(home, SETTINGS, "worse", NOW).version == "1"
    assert read_model(home.champion).version == "1"
    with pytest.raises(ModelNotFoundError, match="no champion before"):
        rollback(home, SETTINGS, "worse", NOW)
    assert _aliases(home) == {"champion": "1"}


def test_every_move_is_written_down(home):
    _release(home, 1)
    _release(home, 2)
    promote(home, SETTINGS, "2", "better", NOW)
    rollback(home, SETTINGS, "worse", NOW)
    found = list_versions(open_store(home, SETTINGS), "heart")
    moves = sorted((m for each in found for m in each.moves), key=lambda move: move["number"])
    told = [(m["action"], m["alias"], m["version"], m["from"], m["reason"]) for m in moves]
    assert told == [
        ("set", "champion", "1", None, "first version"),
        ("set", "challenger", "2", None, "trained"),
        ("set", "champion", "2", "1", "better"),
        ("rollback", "champion", "1", "2", "worse"),
    ]
    assert {move["at"] for move in moves} == {"2025-03-01T12:00:00+00:00"}


def test_an_unknown_version_is_told_the_known_ones(home):
    with pytest.raises(ModelNotFoundError, match="no version '9'") as caught:
        promote(home, SETTINGS, "9", "", NOW)
    assert caught.value.hint == "versions: 3, 2, 1"


def test_an_unknown_run_is_refused(home):
    with pytest.raises(ModelNotFoundError, match="run-9"):
        _release(home, 9)
    with pytest.raises(ModelNotFoundError, match="cannot be"):
        register_outcome(home, SETTINGS, "a' or 'b", False, NOW)


def _model_file(home, version):
    store = open_store(home, SETTINGS)
    run = store.client.get_run(get_version(store, "heart", version).mlflow_run)
    folder = Path(unquote(urlsplit(run.info.artifact_uri).path))
    return folder / "model" / "data" / "fedrisk" / "model.json"


@pytest.fixture
def damaged(home):
    """Version 2's model.json says something else than when it was recorded."""
    file = _model_file(home, "2")
    text = file.read_text()
    file.write_text(text.replace('"strategy": "exact"', '"strategy": "other"'))
    yield home
    file.write_text(text)


def test_a_changed_artifact_never_becomes_champion(damaged):
    _release(damaged, 1)
    with pytest.raises(ModelFileError, match=r"model\.json changed"):
        promote(damaged, SETTINGS, "2", "", NOW)
    assert _aliases(damaged) == {"champion": "1"}
    assert read_model(damaged.champion).version == "1"


def test_a_lost_artifact_never_becomes_champion(home):
    _release(home, 1)
    file = _model_file(home, "2")
    file.rename(file.with_suffix(".lost"))
    try:
        with pytest.raises((RegistryError, ModelFileError)):
            promote(home, SETTINGS, "2", "", NOW)
    finally:
        file.with_suffix(".lost").rename(file)
    assert _aliases(home) == {"champion": "1"}


def test_promotion_repairs_a_damaged_cache(home):
    _release(home, 1)
    (home.champion / "model.json").write_text("{}")
    promote(home, SETTINGS, "1", "", NOW)
    assert read_model(home.champion).version == "1"


def test_the_cache_follows_the_registry(home):
    _release(home, 1)
    _release(home, 2)
    shutil.rmtree(home.champion.parent)
    refreshed = refresh_cache(home, SETTINGS)
    assert (refreshed.champion, refreshed.challenger, refreshed.changed) == ("1", "2", True)
    assert read_model(home.champion).version == "1"
    assert read_model(home.challenger).version == "2"
    before = generation(home.champion)
    assert not refresh_cache(home, SETTINGS).changed
    assert generation(home.champion) == before


def test_a_crash_between_alias_and_cache_is_healed(home, monkeypatch):
    _release(home, 1)
    with monkeypatch.context() as patch:
        patch.setattr(
            promotion, "follow_aliases", lambda *_, **__: (_ for _ in ()).throw(KeyboardInterrupt)
        )
        with pytest.raises(KeyboardInterrupt):
            promote(home, SETTINGS, "2", "", NOW)
    assert read_model(home.champion).version == "1"
    assert refresh_cache(home, SETTINGS).changed
    assert read_model(home.champion).version == "2"
    assert rollback(home, SETTINGS, "", NOW).version == "1"


def test_a_second_study_does_not_take_over_the_home(home, make_result):
    _release(home, 1)
    other = Settings(tracking_uri=None, registry_name="other")
    record_training(make_result("else"), home, other)
    released = register_outcome(home, other, "else", False, NOW)
    assert (released.name, released.alias) == ("other", "challenger")
    assert released.serving == ("heart", "1")
    assert read_model(home.champion).name == "heart"
    with pytest.raises(ModelNotFoundError):
        read_model(home.challenger)
    assert promote(home, SETTINGS, "2", "", NOW).name == "heart"


@pytest.fixture
def moved(home, make_result):
    """The home served heart 1, and by promotion now serves version 1 of another model."""
    _release(home, 1)
    record_training(make_result("else"), home, OTHER)
    register_outcome(home, OTHER, "else", False, NOW)
    promote(home, OTHER, "1", "another question", NOW)
    assert read_model(home.champion).name == "other"
    return home


def test_a_new_version_of_the_former_model_does_not_take_the_home_back(moved):
    released = _release(moved, 2)
    assert (released.name, released.alias) == ("heart", "challenger")
    assert released.serving == ("other", "1")
    assert _release(moved, 1).serving == ("other", "1")
    assert read_model(moved.champion).name == "other"


def test_rollback_over_a_change_of_model_says_how(moved):
    with pytest.raises(ModelNotFoundError, match="another model, 'heart' version 1") as caught:
        rollback(moved, SETTINGS, "worse", NOW)
    assert f"fedrisk promote 1 --name heart --home {moved.root}" in caught.value.hint
    assert read_model(moved.champion).name == "other"
    promote(moved, Settings(tracking_uri=None, registry_name="heart"), "1", "back", NOW)
    assert read_model(moved.champion).name == "heart"
    with pytest.raises(ModelNotFoundError, match="another model, 'other' version 1"):
        rollback(moved, SETTINGS, "worse", NOW)


def test_rollback_within_a_model_that_took_the_home_over(moved, make_result):
    record_training(make_result("else-2", 2), moved, OTHER)
    register_outcome(moved, OTHER, "else-2", True, NOW)
    assert rollback(moved, SETTINGS, "worse", NOW).version == "1"
    assert read_model(moved.champion).run_id == "else"
    with pytest.raises(ModelNotFoundError, match="another model, 'heart' version 1"):
        rollback(moved, SETTINGS, "worse", NOW)


def test_a_rollback_of_another_model_leaves_what_serves(moved):
    heart = Settings(tracking_uri=None, registry_name="heart")
    _release(moved, 2)
    promote(moved, heart, "1", "", NOW)
    promote(moved, heart, "2", "", NOW)
    promote(moved, OTHER, "1", "", NOW)
    released = rollback(moved, heart, "worse", NOW)
    assert (released.version, released.serving) == ("1", ("other", "1"))
    assert read_model(moved.champion).name == "other"


def test_a_model_that_nobody_judged_is_no_champion_by_itself(home):
    def release(number, promote):
        run = f"run-{number}"
        return register_outcome(home, SETTINGS, run, promote, NOW, evaluated=False).alias

    assert release(1, promote=False) == "challenger"
    assert _aliases(home) == {"challenger": "1"}
    with pytest.raises(ModelNotFoundError):
        read_model(home.champion)
    assert _release(home, 2).alias == "champion"
    assert release(3, promote=True) == "champion"


def test_several_models_without_a_champion_must_be_named(home, make_result):
    record_training(make_result("else"), home, Settings(tracking_uri=None, registry_name="other"))
    with pytest.raises(RegistryError, match="heart, other") as caught:
        promote(home, SETTINGS, "1", "", NOW)
    assert "--name" in caught.value.hint


def test_an_empty_registry_says_so(tmp_path):
    home = Home(tmp_path / "home").prepare()
    with pytest.raises(ModelNotFoundError, match="holds no model"):
        refresh_cache(home, SETTINGS)


def _moves(history):
    """Moves as the gate writes them, and the stack that they should lead to."""
    stack, moves = [], []
    for step in history:
        if step is None and len(stack) < 2:
            continue
        if step == (stack[-1] if stack else None):
            continue
        stack = stack[:-1] if step is None else [*stack, step]
        action = "rollback" if step is None else "set"
        moves.append(
            {
                "number": len(moves) + 1,
                "action": action,
                "alias": "champion",
                "version": stack[-1],
            }
        )
    return moves, stack


@given(st.lists(st.sampled_from([None, "1", "2", "3"])), st.randoms())
def test_champions_are_a_stack(history, random):
    moves, stack = _moves(history)
    shuffled = random.sample(moves, len(moves))
    assert champions(shuffled, stack[-1] if stack else None) == stack


@given(st.lists(st.sampled_from([None, "1", "2", "3"])), st.sampled_from(["1", "2", "9"]))
def test_the_alias_is_right_where_moves_disagree(history, current):
    assert champions(_moves(history)[0], current)[-1] == current


def test_a_rollback_that_was_not_written_down_is_not_undone_by_the_next():
    moves, _ = _moves(["1", "2", "3"])
    assert champions(moves, "2") == ["1", "2"]


def test_moves_are_json_on_their_version(home):
    _release(home, 1)
    store = open_store(home, SETTINGS)
    tags = store.client.get_model_version("heart", "1").tags
    assert json.loads(tags["fedrisk.move.000001"])["alias"] == "champion"
