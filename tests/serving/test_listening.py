from __future__ import annotations

import socket

import pytest

from fedrisk.errors import PortInUseError, UsageError
from fedrisk.serving.listening import listen, url_of


def test_port_zero_takes_a_free_one() -> None:
    with listen("127.0.0.1", 0) as first, listen("127.0.0.1", 0) as second:
        assert url_of(first) != url_of(second)
        port = int(url_of(first).rpartition(":")[2])
        with socket.create_connection(("127.0.0.1", port), timeout=5):
            pass


def test_a_taken_port_is_an_error_with_its_number() -> None:
    with listen("127.0.0.1", 0) as taken:
        port = taken.getsockname()[1]
        with pytest.raises(PortInUseError, match=str(port)) as caught:
            listen("127.0.0.1", port)
    assert caught.value.exit_code == 10
    listen("127.0.0.1", port).close()


@pytest.mark.parametrize("host", ["0.0.0.0", "::", "192.0.2.1", "example.org", ""])
def test_only_loopback_is_served(host: str) -> None:
    with pytest.raises(UsageError, match="loopback"):
        listen(host, 0)
