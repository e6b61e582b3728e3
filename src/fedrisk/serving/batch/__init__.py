"""Many rows: batches of any length, scored in a process beside the server, memory bounded."""

from fedrisk.serving.batch.endpoint import ManyRows
from fedrisk.serving.batch.processes import BatchRules, ScoringProcesses

__all__ = ["BatchRules", "ManyRows", "ScoringProcesses"]
