"""Rounds that do nothing on NVFLARE's simulator: ``nvflare_rounds.py SITES ROUNDS FOLDER``.

Runs in an environment of its own that has nvflare; prints the seconds of each round as JSON.
"""

import json
import sys
import time
from pathlib import Path

from nvflare.app_common.abstract.fl_model import FLModel
from nvflare.app_common.workflows.model_controller import ModelController
from nvflare.job_config.api import FedJob
from nvflare.job_config.script_runner import FrameworkType, ScriptRunner

CLIENT = """
import nvflare.client as flare
from nvflare.app_common.abstract.fl_model import FLModel
flare.init()
while flare.is_running():
    model = flare.receive()
    if model is not None:
        flare.send(FLModel(params=model.params))
"""


class EmptyRounds(ModelController):
    """Sends sixteen numbers to every site and waits for them, some times."""

    def __init__(self, rounds: int, sites: int, times: str) -> None:
        super().__init__()
        self.rounds, self.sites, self.times = rounds, sites, times

    def run(self) -> None:
        """Time each round."""
        times = []
        for number in range(self.rounds):
            start = time.monotonic()
            model = FLModel(params={"a": [0.0] * 16}, current_round=number)
            replies = self.send_model_and_wait(targets=self.sample_clients(self.sites), data=model)
            if len(replies) != self.sites:
                raise RuntimeError("a site did not answer")
            times.append(time.monotonic() - start)
        Path(self.times).write_text(json.dumps(times), encoding="utf-8")


def main() -> None:
    """Run the job."""
    sites, rounds, folder = int(sys.argv[1]), int(sys.argv[2]), Path(sys.argv[3])
    script = folder / "empty_client.py"
    script.write_text(CLIENT, encoding="utf-8")
    times = folder / "times.json"
    job = FedJob(name="empty", min_clients=sites)
    job.to_server(EmptyRounds(rounds, sites, str(times)))
    for site in range(1, sites + 1):
        job.to(ScriptRunner(script=str(script), framework=FrameworkType.RAW), f"site-{site}")
    job.simulator_run(str(folder / "workspace"), threads=sites)
    print("TIMES", times.read_text(encoding="utf-8"))


if __name__ == "__main__":
    main()
