"""What a site's processes sent: from noted bytes to HTTP requests, Flower's messages, numbers."""

from __future__ import annotations

import base64
import hashlib
import json
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path

import numpy as np
from flwr.app import Message
from flwr.proto.fleet_pb2 import PushMessagesRequest
from flwr.proto.message_pb2 import PushObjectRequest
from flwr.supercore.inflatable.inflatable_utils import inflate_object_from_contents

from fedrisk.federation.packing import unpack

Numbers = dict[str, np.ndarray]
#: Process, own address, the other end's.
Connection = tuple[str, str, str]


@dataclass(frozen=True)
class Request:
    """One HTTP request."""

    path: str
    headers: Mapping[str, str]
    body: bytes


@dataclass
class Sent:
    """Everything that left one site.

    Attributes
    ----------
    streams : mapping
        Bytes of each connection, by process and addresses.
    programs : set of str
        Names of the programs that sent something.
    elsewhere : mapping of id to bytes
        Objects that others sent: Flower sends none that the other end has already.
    """

    streams: dict[Connection, bytearray] = field(default_factory=dict)
    programs: set[str] = field(default_factory=set)
    elsewhere: Mapping[str, bytes] = field(default_factory=dict)

    @property
    def everything(self) -> bytes:
        return b"\n".join(self.streams.values())

    @cached_property
    def requests(self) -> list[Request]:
        return [one for stream in self.streams.values() for one in read_requests(bytes(stream))]

    @cached_property
    def objects(self) -> dict[str, bytes]:
        """Contents of Flower's objects by their id."""
        return read_objects(self.requests)

    @cached_property
    def replies(self) -> list[Message]:
        """Messages, put together from the objects that they were taken apart into."""
        found = []
        for request in self.requests:
            if request.path.endswith("/push-messages"):
                pushed = PushMessagesRequest.FromString(request.body)
                for tree in pushed.message_object_trees:
                    contents = {**self.elsewhere, **self.objects}
                    found.append(inflate_object_from_contents(tree.object_id, contents))
        return found

    @cached_property
    def numbers(self) -> list[Numbers]:
        """Every number of every reply, by its name: ``record/field`` for arrays."""
        return [numbers_of(reply) for reply in self.replies if reply.has_content()]


def numbers_of(message: Message) -> Numbers:
    """Arrays of a message, and the numbers among its settings and metrics."""
    content, found = message.content, {}
    for record in content.array_records.values():
        found |= unpack(record)
    for kinds in (content.config_records, content.metric_records):
        for name, record in kinds.items():
            for key, value in record.items():
                values = value if isinstance(value, list) else [value]
                numbers = [v for v in values if isinstance(v, int | float)]
                if numbers:
                    found[f"{name}/{key}"] = np.array(numbers, np.float64)
    return found


def read_objects(requests: Iterable[Request]) -> dict[str, bytes]:
    """Contents of the objects that these requests push, by their id."""
    found = {}
    for request in requests:
        if request.path.endswith(("/push-object", "/PushObject")):
            pushed = PushObjectRequest.FromString(request.body)
            assert hashlib.sha256(pushed.object_content).hexdigest() == pushed.object_id
            found[pushed.object_id] = pushed.object_content
    return found


def read_requests(stream: bytes) -> Iterator[Request]:
    """HTTP requests of one connection, one after the other."""
    while stream:
        head, _, stream = stream.partition(b"\r\n\r\n")
        first, *lines = head.decode("latin-1").split("\r\n")
        headers = {k.strip().lower(): v.strip() for k, _, v in (x.partition(":") for x in lines)}
        size = int(headers.get("content-length", "0"))
        assert "transfer-encoding" not in headers, "a body of unknown length"
        body, stream = stream[:size], stream[size:]
        yield Request(first.split(" ")[1], headers, body)


class Notes:
    """What every process of a federation noted.

    Parameters
    ----------
    folder : Path
        Where the notes are.
    """

    def __init__(self, folder: Path) -> None:
        self.streams: dict[Connection, bytearray] = {}
        self.commands: dict[str, list[str]] = {}
        for file in sorted(folder.glob("*.jsonl")):
            for text in file.read_text().splitlines():
                note = json.loads(text)
                self.commands[file.stem] = note["argv"]
                key = (file.stem, note["from"], note["to"])
                self.streams.setdefault(key, bytearray()).extend(base64.b64decode(note["data"]))
        asked = [bytes(one) for one in self.streams.values() if one.startswith(b"POST ")]
        self.objects = read_objects(one for stream in asked for one in read_requests(stream))

    def of_site(self, node_config: Path, own_port: int) -> Sent:
        """What left the site whose SuperNode was started with these.

        Its processes talk among themselves by the SuperNode's own port; that stays at the site.

        Parameters
        ----------
        node_config : Path
        own_port : int
        """
        inside = f"127.0.0.1:{own_port}"
        own = {
            process
            for process, argv in self.commands.items()
            if str(node_config.resolve()) in argv or inside in argv
        }
        programs = {Path(self.commands[process][0]).name for process in own}
        streams = {
            key: stream
            for key, stream in self.streams.items()
            if key[0] in own and inside not in key[1:]
        }
        return Sent(streams, programs, self.objects)
