"""Typed settings: the only reader of the environment.

Settings are read once by whoever starts a process and passed down. Every field is an environment
variable with the prefix ``FEDRISK_``, for example ``FEDRISK_HOME``.
"""

from __future__ import annotations

import os
from pathlib import Path
from typing import Literal
from urllib.parse import urlencode

from pydantic import AliasChoices, Field, ValidationError
from pydantic_settings import BaseSettings, SettingsConfigDict

from fedrisk.errors import UsageError


class Settings(BaseSettings):
    """Settings of one process."""

    model_config = SettingsConfigDict(
        env_prefix="FEDRISK_", extra="ignore", frozen=True, populate_by_name=True
    )

    home: Path = Path("fedrisk-home")
    federation: Path | None = Field(
        default=None,
        description="Folder of the federation whose coordinator this is; it sets it itself.",
    )
    tracking_uri: str | None = Field(
        default=None,
        validation_alias=AliasChoices("FEDRISK_TRACKING_URI", "MLFLOW_TRACKING_URI"),
        description="MLflow server; without it, SQLite and files under the home.",
    )
    registry_name: str = Field(
        default="", description="Name of the registered model; empty takes the study's name."
    )
    host: str = "127.0.0.1"
    port: int = Field(default=8080, ge=0, le=65_535)
    grpc_port: int | None = Field(
        default=None, ge=0, le=65_535, description="Port of gRPC; without it gRPC is off."
    )
    grpc_certificate: Path | None = Field(
        default=None, description="Certificate of the gRPC port, in PEM; without it plain text."
    )
    grpc_key: Path | None = Field(default=None, description="Its private key, in PEM.")
    keys: Path | None = Field(
        default=None,
        description="File of the API's keys, hashed; without it keys.json in the home.",
    )
    database_url: str | None = Field(
        default=None, description="Database of monitoring windows; without it SQLite in the home."
    )
    database_password_file: Path | None = Field(
        default=None, description="Holds its password; read anew with each connection."
    )
    replica: str = Field(
        default="", description="Who counts, in monitoring windows; empty takes the host's name."
    )
    worker: int = Field(
        default=0, ge=0, description="Number of this worker among those of one socket."
    )
    figures: str = Field(
        default="",
        validation_alias=AliasChoices("FEDRISK_FIGURES", "PROMETHEUS_MULTIPROC_DIR"),
        description="Folder in which workers' figures are added up; set by `serve --workers`.",
    )
    capture: bool = Field(
        default=True, description="Count what is asked and answered, for the watch over drift."
    )
    capture_minutes: float = Field(default=15.0, gt=0, description="Length of a window.")
    keep_days: int = Field(
        default=190, ge=1, description="Days that windows for the watch over drift are kept."
    )
    command_hours: float = Field(
        default=6.0,
        gt=0,
        le=1_000,
        description="Hours after which `fedrisk watch` ends a command that hangs.",
    )
    alertmanager: str | None = Field(
        default=None,
        description="Address of an Alertmanager that `fedrisk watch` tells everything, where "
        "alerts.toml names no channel.",
    )
    capture_least: int = Field(default=50, ge=1, description="Rows in a window that may leave.")
    canary_share: float = Field(
        default=0.0, ge=0, le=1, description="Part of the requests that the challenger answers."
    )
    shadow: bool = Field(
        default=False, description="Let the challenger score what the champion answered."
    )
    oidc_issuer: str = Field(
        default="",
        description="OpenID Connect issuer whose bearer tokens are taken; empty for none.",
    )
    oidc_audience: str = Field(default="", description="What tokens name this API by.")
    oidc_jwks: Path | None = Field(
        default=None, description="File of the issuer's keys; without it the issuer is asked."
    )
    oidc_scopes: str = Field(
        default="", description="WORD=SCOPE ...: what a token's words open, if not their own names."
    )
    oidc_rate: float = Field(
        default=0.0, ge=0, description="Requests a second of one subject; 0 for no limit."
    )
    oidc_burst: int = Field(default=20, ge=1, description="Requests of one subject at once.")
    oidc_concurrent: int = Field(
        default=0, ge=0, description="Requests of one subject at the same time; 0 for no limit."
    )
    cache_seconds: float = Field(
        default=0.25,
        gt=0,
        description="How often the server looks for another model or other keys.",
    )
    most_lag: float = Field(
        default=0.25,
        gt=0,
        description="Seconds that the server may be behind before it turns new requests away.",
    )
    webhook_secret_file: Path | None = Field(
        default=None, description="Holds what MLflow signs its webhook's deliveries with."
    )
    plan_keys: Path | None = Field(
        default=None, description="Public keys whose signature on a change plan counts, one a line."
    )
    record_share: float = Field(
        default=0.0, ge=0, le=1, description="Part of the requests that are recorded, sealed."
    )
    record_key: Path | None = Field(
        default=None, description="Public key that the record is sealed for."
    )
    record_days: int | None = Field(
        default=None, ge=1, le=365, description="Days after which the record is deleted."
    )
    batch_bytes: int = Field(
        default=4 << 30, ge=1, description="Longest CSV or JSON lines in one batch, unpacked."
    )
    batch_rows: int = Field(default=50_000_000, ge=1, description="Most rows of one batch.")
    batch_processes: int = Field(
        default=2, ge=1, description="Long batches that one worker scores at the same time."
    )
    jobs_waiting: int = Field(
        default=20, ge=0, description="Jobs of one caller that have not ended; 0 takes no jobs."
    )
    job_hours: float = Field(
        default=24.0, gt=0, description="How long a job that has ended is kept, with its result."
    )
    jobs_bytes: int = Field(
        default=20 << 30, ge=1, description="Bodies and results of jobs on the disk, together."
    )
    drain_seconds: float = Field(
        default=0.0, ge=0, description="How long to answer on after being told to end."
    )
    head_seconds: float = Field(
        default=10.0, gt=0, description="How long a caller may take to send a request's head."
    )
    body_seconds: float = Field(
        default=30.0, gt=0, description="How long a caller may take to send a request's body."
    )
    answer_seconds: float = Field(
        default=60.0, gt=0, description="From a request's body until its answer is taken."
    )
    idle_seconds: float = Field(
        default=30.0, gt=0, description="How long a connection may be without a request."
    )
    connections: int = Field(
        default=1000, ge=1, description="Most connections of one process at the same time."
    )
    audit: str = Field(
        default="",
        description="File that gets a line for every prediction request; - for standard output.",
    )
    audit_strict: bool = Field(
        default=False, description="Answer no prediction whose line cannot be written."
    )
    log_level: Literal["debug", "info", "warning", "error"] = "info"
    log_format: Literal["json", "text"] = Field(
        default="text", description="Log lines of the serving processes: JSON for machines."
    )
    otlp_endpoint: str = Field(
        default="", description="OpenTelemetry collector that gets traces, by OTLP over HTTP."
    )
    trace_share: float = Field(
        default=1.0, ge=0, le=1, description="Part of the traces beginning here that is sent."
    )
    metrics_token_file: Path | None = Field(
        default=None,
        description="Holds the token of a scrape of a coordinator's or a site's figures.",
    )
    backup_status: Path | None = Field(
        default=None,
        description="What says how backups went; without it backup-status.json in the federation.",
    )
    flower_start: Literal["resident", "stock"] = Field(
        default="resident",
        description="Fork Flower's commands from a resident process, or start each anew.",
    )
    poll_seconds: float = Field(
        default=0.2, gt=0, description="How often the coordinator looks for sites' replies."
    )

    def database(self, file: Path) -> str:
        """Address of the database that is named, with its password's file; else of a SQLite file.

        >>> Settings(database_url="postgresql+psycopg://u@h/d",
        ...          database_password_file=Path("/run/p w")).database(Path("state.db"))
        'postgresql+psycopg://u@h/d?password_file=%2Frun%2Fp+w'
        """
        if not self.database_url:
            return f"sqlite:///{file}"
        if self.database_password_file is None or self.database_url.startswith("sqlite"):
            return self.database_url
        more = urlencode({"password_file": self.database_password_file})
        return f"{self.database_url}{'&' if '?' in self.database_url else '?'}{more}"


def process_environment() -> dict[str, str]:
    """Copy the environment, for processes that this one starts."""
    return dict(os.environ)


def read_settings() -> Settings:
    """Read the environment.

    Raises
    ------
    UsageError
        Names every variable with a value that does not fit.
    """
    try:
        return Settings()
    except ValidationError as error:
        wrong = "; ".join(
            f"{'.'.join(map(str, problem['loc']))}: {problem['msg']}" for problem in error.errors()
        )
        raise UsageError(f"environment: {wrong}", hint="docs/settings.md lists them") from None
