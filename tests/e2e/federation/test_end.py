"""At the end every site's log is as it was written, and an orderly stop leaves no process."""

from __future__ import annotations

import pytest
from e2e.federation.deployment import Deployment
from e2e.federation.faults import Undisturbed
from running import processes_of, wait_until

pytestmark = [pytest.mark.federation, pytest.mark.hosts]


def test_every_log_of_what_left_verifies(federation: Deployment, undisturbed: Undisturbed) -> None:
    for name in federation.data:
        words = ("site", "egress", "--verify", "--folder", federation.site(name))
        told = federation.told(federation.hosts[name], *words)
        assert told["entries"] >= undisturbed.rounds
        assert told["receipts"] >= undisturbed.rounds - 1
        assert told["head"]["sequence"] == told["entries"]


def test_an_orderly_stop_leaves_no_process(federation: Deployment) -> None:
    running = list(federation.starts)
    assert {"coordinator", *federation.data} <= {*running}
    assert federation.stop(*running) == [0] * len(running)
    assert wait_until(lambda: not processes_of(federation.folder), 15), processes_of(
        federation.folder
    )
    for host in (federation.network.coordinator, *federation.network.sites):
        assert host.pids() == []
