"""A sampled, sealed record of predictions: the server writes what it cannot read.

Off unless an operator names a share, a public key and a number of days. See docs/serving.md.
"""

from fedrisk.serving.recording.recorder import Recorder, RecordRules

__all__ = ["RecordRules", "Recorder"]
