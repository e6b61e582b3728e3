"""Asynchronous jobs: long batches that are taken now, scored later, and survive a restart."""

from fedrisk.serving.jobs.endpoints import add_jobs
from fedrisk.serving.jobs.room import JobRoom, JobRules
from fedrisk.serving.jobs.worker import JobRunner

__all__ = ["JobRoom", "JobRules", "JobRunner", "add_jobs"]
