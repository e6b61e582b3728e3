from __future__ import annotations

import subprocess
import sys
import time
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from fedrisk.errors import RateLimitError
from fedrisk.serving.access.keys import Key, make_key
from fedrisk.serving.access.rates import Rates

NOW = datetime(2026, 1, 1, tzinfo=UTC)


def key(per_second: float, burst: int) -> Key:
    return make_key("app", ["predict"], NOW, per_second=per_second, burst=burst)[0]


class Clock:
    def __init__(self) -> None:
        self.seconds = 1000.0

    def __call__(self) -> float:
        return self.seconds


def allowed(rates: Rates, limited: Key) -> bool:
    try:
        rates.take(limited)
    except RateLimitError:
        return False
    return True


def test_a_burst_then_the_rate(tmp_path: Path) -> None:
    clock = Clock()
    with Rates(tmp_path / "rates", clock) as rates:
        limited = key(2.0, 5)
        assert [allowed(rates, limited) for _ in range(7)] == [True] * 5 + [False] * 2
        clock.seconds += 0.5
        assert [allowed(rates, limited) for _ in range(2)] == [True, False]
        clock.seconds += 100
        assert [allowed(rates, limited) for _ in range(6)] == [True] * 5 + [False]


def test_it_says_when_to_come_again_and_keeps_its_word(tmp_path: Path) -> None:
    clock = Clock()
    with Rates(tmp_path / "rates", clock) as rates:
        limited = key(0.5, 1)
        rates.take(limited)
        with pytest.raises(RateLimitError) as refused:
            rates.take(limited)
        assert refused.value.seconds == pytest.approx(2.0)
        clock.seconds += refused.value.seconds
        rates.take(limited)


def test_keys_do_not_take_from_each_other_and_no_limit_is_none(tmp_path: Path) -> None:
    with Rates(tmp_path / "rates", Clock()) as rates:
        limited = [replace(key(1.0, 1), id=name) for name in ("aaaa", "bbbb")]
        one, two, free = *limited, key(0.0, 1)
        assert [allowed(rates, k) for k in (one, two, one, free, free)] == [
            True,
            True,
            False,
            True,
            True,
        ]


@given(
    st.floats(0.1, 1000),
    st.integers(1, 50),
    st.lists(st.floats(0, 2), min_size=1, max_size=200),
)
def test_never_more_than_rate_and_burst(tmp_path_factory, per_second, burst, pauses) -> None:
    clock, taken = Clock(), 0
    with Rates(tmp_path_factory.mktemp("rates") / "rates", clock) as rates:
        limited = key(per_second, burst)
        for pause in pauses:
            clock.seconds += pause
            taken += allowed(rates, limited)
    assert taken <= burst + per_second * sum(pauses) + 1e-6


def test_a_clock_that_begins_anew_does_not_lock_anyone_out(tmp_path: Path) -> None:
    clock = Clock()
    limited = key(1.0, 2)
    with Rates(tmp_path / "rates", clock) as rates:
        clock.seconds = 1e7
        rates.take(limited)
    clock.seconds = 3.0
    with Rates(tmp_path / "rates", clock) as rates:
        assert allowed(rates, limited)


def test_processes_share_one_limit(tmp_path: Path) -> None:
    limited = key(0.001, 40)
    program = (
        "import sys, time\n"
        "from pathlib import Path\n"
        "from fedrisk.errors import RateLimitError\n"
        "from fedrisk.serving.access.keys import Key\n"
        "from fedrisk.serving.access.rates import Rates\n"
        "key = Key(sys.argv[2], 'app', '', ('predict',), '', '', 0.001, 40)\n"
        "taken = 0\n"
        "with Rates(Path(sys.argv[1]), time.monotonic) as rates:\n"
        "    for _ in range(60):\n"
        "        try: rates.take(key); taken += 1\n"
        "        except RateLimitError: pass\n"
        "print(taken)\n"
    )
    command = [sys.executable, "-c", program, str(tmp_path / "rates"), limited.id]
    started = [subprocess.Popen(command, stdout=subprocess.PIPE, text=True) for _ in range(3)]
    taken = [int(process.communicate(timeout=60)[0]) for process in started]
    assert sum(taken) == 40
    with Rates(tmp_path / "rates", time.monotonic) as rates:
        assert not allowed(rates, limited)
