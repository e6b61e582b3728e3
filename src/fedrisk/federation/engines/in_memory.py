"""A Grid in this process: the same messages and apps, no transport. For tests and notebooks."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from pathlib import Path
from uuid import uuid4

from flwr.app import Context, Message, RecordDict
from flwr.serverapp import Grid
from flwr.supercore.task_identity import TaskIdentity

from fedrisk.federation.client_app import app


class InMemoryGrid(Grid):
    """Answers every message at once with the client app, one context a site.

    Parameters
    ----------
    sites : mapping of name to path
    policy : Path, optional
        What every site answers; everything without one.
    """

    def __init__(self, sites: Mapping[str, Path], policy: Path | None = None) -> None:
        rules = {} if policy is None else {"policy": str(policy)}
        self._contexts = {
            node: Context(
                run_id=1,
                node_id=node,
                node_config={"site": name, "data": str(path), **rules},
                state=RecordDict(),
                run_config={},
            )
            for node, (name, path) in enumerate(sites.items(), start=1)
        }
        self._replies: dict[str, Message] = {}
        # Flower's Message takes its sender from this process-wide identity.
        TaskIdentity.task_id, TaskIdentity.run_id, TaskIdentity.node_id = 1, 1, 0

    def set_run(self, run: object) -> None:
        """Nothing to set: there is one run."""

    @property
    def run(self) -> object:  # type: ignore[override]
        return None

    def get_node_ids(self) -> Iterable[int]:
        return list(self._contexts)

    def create_message(
        self,
        content: RecordDict,
        message_type: str,
        dst_node_id: int,
        group_id: str,
        ttl: float | None = None,
    ) -> Message:
        return Message(content, dst_node_id, message_type, ttl=ttl, group_id=group_id)

    def push_messages(self, messages: Iterable[Message]) -> Iterable[str]:
        identifiers = []
        for message in messages:
            identifier = uuid4().hex
            message.metadata.__dict__["_message_id"] = identifier  # as Flower's own grids do
            self._replies[identifier] = app(message, self._contexts[message.metadata.dst_node_id])
            identifiers.append(identifier)
        return identifiers

    def pull_messages(self, message_ids: Iterable[str]) -> Iterable[Message]:
        return [self._replies.pop(i) for i in list(message_ids) if i in self._replies]

    def send_and_receive(
        self, messages: Iterable[Message], *, timeout: float | None = None
    ) -> Iterable[Message]:
        del timeout
        return self.pull_messages(self.push_messages(messages))
