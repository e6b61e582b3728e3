"""Moves under a token on a real store: twice is once, and who is behind moves nothing."""

from __future__ import annotations

import shutil
from datetime import UTC, datetime

import pytest

from fedrisk.errors import FencedError, RetrainingError
from fedrisk.home import Home
from fedrisk.registry.cache import read_model
from fedrisk.registry.guarded import GuardedMoves
from fedrisk.registry.promotion import promote, refresh_cache, register_outcome
from fedrisk.registry.record import record_training
from fedrisk.registry.trial_control import TrialControl
from fedrisk.settings import Settings

SETTINGS = Settings(tracking_uri=None, registry_name="")
NOW = datetime(2025, 3, 1, 12, tzinfo=UTC)
TRIED = TrialControl(0.1, shadow=True)


@pytest.fixture(scope="module")
def trained(tmp_path_factory, make_result):
    """A home with a champion and two versions without an alias."""
    home = Home(tmp_path_factory.mktemp("trained") / "home").prepare()
    for seed in (1, 2, 3):
        record_training(make_result(f"run-{seed}", seed), home, SETTINGS)
    register_outcome(home, SETTINGS, "run-1", promote=False, now=NOW)
    return home


@pytest.fixture
def home(trained, tmp_path):
    copy = Home(tmp_path / "home").prepare()
    copy.mlflow_database.parent.mkdir()
    shutil.copy(trained.mlflow_database, copy.mlflow_database)
    refresh_cache(copy, SETTINGS)
    return copy


@pytest.fixture
def moves(home):
    return GuardedMoves(home, SETTINGS, "heart")


def _aliases(moves):
    return moves.aliases()[0]


def test_a_challenger_is_tried_as_it_is_said_and_withdrawn(moves, home):
    for _ in range(2):
        moves.challenge("2", TRIED, "loop", 1, NOW)
    assert _aliases(moves) == {"champion": "1", "challenger": "2"}
    assert TrialControl.from_text(home.trial.read_text()) == TRIED
    assert read_model(home.challenger).version == "2"
    for _ in range(2):
        moves.withdraw("2", 1)
    assert _aliases(moves) == {"champion": "1"}
    assert not home.trial.exists()
    with pytest.raises(RetrainingError, match="cannot challenge"):
        moves.challenge("1", TRIED, "loop", 1, NOW)


def test_a_home_elsewhere_follows_how_the_challenger_is_tried(moves, home):
    moves.challenge("2", TRIED, "loop", 1, NOW)
    home.trial.unlink()
    assert refresh_cache(home, SETTINGS).changed
    assert TrialControl.from_text(home.trial.read_text()) == TRIED
    assert not refresh_cache(home, SETTINGS).changed


def test_promoted_and_given_back_each_once(moves, home):
    moves.challenge("2", TRIED, "loop", 1, NOW)
    for _ in range(2):
        moves.promote("2", "1", "loop", 1, NOW)
    assert _aliases(moves) == {"champion": "2", "previous": "1"}
    assert moves.aliases()[1] == ["1", "2"]
    assert read_model(home.champion).version == "2"
    assert not home.trial.exists()
    for _ in range(2):
        moves.give_back("1", "2", "harm", 1, NOW)
    assert _aliases(moves) == {"champion": "1"}
    assert moves.aliases()[1] == ["1"]
    assert read_model(home.champion).version == "1"


def test_a_death_between_alias_and_record_is_mended_by_the_second_time(moves, monkeypatch):
    from fedrisk.registry import promotion

    moves.challenge("2", TRIED, "loop", 1, NOW)

    def die(*_):
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(promotion, "point_previous", die)
        patch.setattr("mlflow.MlflowClient.delete_registered_model_alias", die)
        with pytest.raises(KeyboardInterrupt):
            moves.promote("2", "1", "loop", 1, NOW)
    assert _aliases(moves)["challenger"] == "2"
    moves.promote("2", "1", "loop", 1, NOW)
    assert _aliases(moves) == {"champion": "2", "previous": "1"}


def test_one_of_several_earlier_champions_is_returned_to(moves, home):
    promote(home, SETTINGS, "2", "person", NOW)
    promote(home, SETTINGS, "3", "person", NOW)
    moves.give_back("1", "3", "harm", 1, NOW)
    aliases, past = moves.aliases()
    assert (aliases["champion"], past[-1]) == ("1", "1")


def test_who_is_behind_moves_nothing(moves):
    moves.guard(7)
    for move in (
        lambda: moves.guard(6),
        lambda: moves.challenge("2", TRIED, "loop", 6, NOW),
        lambda: moves.withdraw("2", 6),
        lambda: moves.promote("2", "1", "loop", 6, NOW),
        lambda: moves.give_back("2", "1", "loop", 6, NOW),
    ):
        with pytest.raises(FencedError):
            move()
    assert _aliases(moves) == {"champion": "1"}
    moves.promote("2", "1", "loop", 7, NOW)


def test_a_champion_that_somebody_moved_stays(moves, home):
    promote(home, SETTINGS, "3", "person", NOW)
    for move in (moves.promote, moves.give_back):
        with pytest.raises(RetrainingError, match="somebody moved it"):
            move("2", "1", "loop", 1, NOW)
    assert _aliases(moves)["champion"] == "3"
