"""A Flower app whose sites answer at once; the server writes each round's seconds to a file."""

import json
import time
from pathlib import Path

import numpy as np
from flwr.app import Array, ArrayRecord, Context, Message, RecordDict
from flwr.clientapp import ClientApp
from flwr.serverapp import Grid, ServerApp

client = ClientApp()
server = ServerApp()


def content() -> RecordDict:
    """One small array."""
    return RecordDict({"arrays": ArrayRecord({"a": Array(np.zeros(16))})})


@client.train()
def train(message: Message, _context: Context) -> Message:
    """Answer."""
    return Message(content(), reply_to=message)


@server.main()
def main(grid: Grid, context: Context) -> None:
    """Ask every site some times and write how long each took."""
    sites = int(str(context.run_config["sites"]))
    while len(nodes := list(grid.get_node_ids())) < sites:
        time.sleep(0.5)
    times = []
    for number in range(int(str(context.run_config["rounds"]))):
        start = time.monotonic()
        messages = [Message(content(), node, "train", group_id=str(number)) for node in nodes]
        if len(list(grid.send_and_receive(messages))) != sites:
            raise RuntimeError("a site did not answer")
        times.append(time.monotonic() - start)
    Path(str(context.run_config["times"])).write_text(json.dumps(times), encoding="utf-8")
