"""The nightly backup is sealed where there is somebody to open it."""

from __future__ import annotations

import subprocess
from pathlib import Path

from .manifests import overlay, pods


def test_a_backup_is_sealed_where_there_is_somebody_to_seal_for(tmp_path: Path) -> None:
    """The Jobs' own shell, with `fedrisk` played by one that tells its arguments."""
    jobs = {pod.owner: pod for pod in pods(overlay("production"))}
    played = tmp_path / "fedrisk"
    played.write_text('#!/bin/sh\necho "$@"\n')
    played.chmod(0o755)
    for owner, name, place, file, option in (
        ("CronJob/backup", "backup", "/run/recipient", "recipient", "--recipient"),
        ("CronJob/restore", "files", "/run/backup-key", "key", "--key"),
    ):
        (box,) = [each for each in jobs[owner].containers if each["name"] == name]
        (mount,) = [each for each in box["volumeMounts"] if each["mountPath"] == place]
        (volume,) = [each for each in jobs[owner].spec["volumes"] if each["name"] == mount["name"]]
        assert volume.get("configMap", volume.get("secret"))["optional"] is True
        here = tmp_path / file
        script = box["args"][0].replace(f"{place}/{file}", str(here))
        command = [*box["command"][box["command"].index("bash") :], script]
        environment = {"PATH": f"{tmp_path}:/usr/bin:/bin"}

        def told(command: list[str] = command, environment: dict[str, str] = environment) -> str:
            done = subprocess.run(
                command, capture_output=True, text=True, check=True, env=environment
            )
            return done.stdout

        assert option not in told()
        here.write_text("a key")
        assert f" {option} {here} " in told()
