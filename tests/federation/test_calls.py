"""A call is waited for only so long, and says later what became of it."""

from __future__ import annotations

import contextvars
import threading

import pytest

from fedrisk.federation.calls import Call

NAME: contextvars.ContextVar[str] = contextvars.ContextVar("name", default="nobody")


def test_what_a_call_returns_is_there_when_it_has_ended() -> None:
    go_on = threading.Event()
    call = Call(lambda: go_on.wait(60) and "done")
    assert not call.ended()
    assert not call.ended(0.01)
    go_on.set()
    assert call.ended(60)
    assert call.result() == "done"


@pytest.mark.parametrize("error", [ValueError("bad"), KeyboardInterrupt()])
def test_what_a_call_raises_is_raised_by_its_result(error: BaseException) -> None:
    def fail() -> None:
        raise error

    call = Call(fail)
    assert call.ended(None)
    with pytest.raises(type(error)) as found:
        call.result()
    assert found.value is error


def test_a_call_sees_what_its_maker_saw() -> None:
    NAME.set("somebody")
    call = Call(NAME.get)
    assert call.ended(60)
    assert call.result() == "somebody"
