"""Which answers to a comparison cannot be true: as `fedrisk.federation.plausibility` has it.

What is withheld is no lie: a group may be empty as a whole, and so may an answer.
"""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np

from fedrisk.models.comparison import ComparisonCounts, PlacementSums
from fedrisk.models.comparison.counts import MODEL_FIGURES, figure_place
from fedrisk.models.comparison.rows import LARGEST_WEIGHT
from fedrisk.models.metrics import LOG_LOSS_FLOOR
from fedrisk.study.records import FloatArray

#: Room for rounding, relative to the size of what is compared.
TOLERANCE = 1e-9
#: Largest log loss of one row.
LARGEST_LOSS = -float(np.log(LOG_LOSS_FLOOR))

#: Fields that hold counts of rows.
_COUNTS = (
    "rows",
    "events",
    "treated_events",
    "clusters",
    "band_rows",
    "band_treated",
    "band_events",
    "churn",
)


def faults_of_counts(counts: ComparisonCounts, models: int, *, untreated: bool) -> Iterator[str]:
    """What of a first message no rows could give; nothing where all is well.

    Parameters
    ----------
    counts : ComparisonCounts
    models : int
    untreated : bool
        Whether untreated rows alone are judged, and stand for others.
    """
    yield from _sizes(counts)
    yield from _weights(counts, models, untreated=untreated)
    yield from _totals(counts, models)
    yield from _bins(counts, models)
    yield from _variances(counts)


def faults_of_placements(sums: PlacementSums) -> Iterator[str]:
    """What of a second message no rows could give; nothing where all is well.

    The rows of a site move an AUROC by less than one through its events, and through the others.
    """
    if not _semidefinite(sums.moments):
        yield "moments that are those of no numbers"
    if np.any(np.abs(sums.totals[::3]) > 2 + TOLERANCE):
        yield "rows that move an AUROC by more than rows can"


def _sizes(counts: ComparisonCounts) -> Iterator[str]:
    for name in _COUNTS:
        values = getattr(counts, name)
        if np.any(values < 0) or np.any(values != np.round(values)):
            yield f"{name} holds no counts"
    treated = counts.band_treated.sum()
    if np.any(counts.events > counts.rows) or counts.treated_events > treated:
        yield "more events than rows"
    if np.any(counts.rows > counts.rows[0]):
        yield "a group has more rows than there are"
    if np.any(counts.clusters > counts.rows[:, None]):
        yield "more people or days than rows"
    if np.any(counts.band_treated > counts.band_rows):
        yield "more treated rows than rows"
    # A site may round changes of risk level to multiples of its least number, and up from half.
    if np.any(counts.churn.sum(axis=(1, 2)) > 2 * counts.rows[0]):
        yield "more rows by risk level than rows"


def _variances(counts: ComparisonCounts) -> Iterator[str]:
    if not _semidefinite(counts.moments):
        yield "moments that are those of no numbers"
    # A variance by person and day is a difference, and its matrix need not be semidefinite.
    own = counts.concordance_moments
    if not _symmetric(own) or np.any(np.diagonal(own, axis1=1, axis2=2) < 0):
        yield "variances of AUROCs that are those of no numbers"
    if np.any(counts.pairs < 0) or np.any(counts.pairs > _room(counts.rows * LARGEST_WEIGHT / 4)):
        yield "pairs of more rows than there are"
    inside = (counts.concordance >= 0) & (counts.concordance <= _room(counts.pairs[:, None]))
    if not inside.all():
        yield "an AUROC outside 0 to 1"


def _weights(counts: ComparisonCounts, models: int, *, untreated: bool) -> Iterator[str]:
    """Without weights all are 1; with them they are at least 1 and at most `LARGEST_WEIGHT`."""
    weights = counts.totals[:, figure_place("rows", models)]
    largest = LARGEST_WEIGHT if untreated else 1.0
    for rows, total, squares in (
        (counts.rows, weights, counts.squared_weights),
        (
            counts.events,
            counts.totals[:, figure_place("events", models)],
            counts.squared_event_weights,
        ),
    ):
        below = (total < rows / (1 + TOLERANCE)) | (squares < total / (1 + TOLERANCE))
        if np.any(below | (total > _room(rows * largest)) | (squares > _room(total * largest))):
            yield "weights that rows cannot have"


def _totals(counts: ComparisonCounts, models: int) -> Iterator[str]:
    weights = counts.totals[:, figure_place("rows", models)]
    limits = dict.fromkeys(MODEL_FIGURES, 1.0) | {"log_loss": LARGEST_LOSS}
    for model in range(models):
        for figure in ("squared_error", "log_loss", "expected"):
            values = counts.totals[:, figure_place(figure, models, model)]
            if np.any(values < -TOLERANCE) or np.any(values > _room(weights * limits[figure])):
                yield f"{figure} is outside what its rows can have"


def _bins(counts: ComparisonCounts, models: int) -> Iterator[str]:
    weights, events = counts.bin_weights, counts.bin_event_weights
    if np.any(events < 0) or np.any(events > _room(weights)):
        yield "more events than rows in a bin"
    if np.any(counts.bin_logits[weights == 0] != 0):
        yield "scores in a bin without rows"
    for held, figure in ((weights, "rows"), (events, "events")):
        whole = counts.totals[0, figure_place(figure, models)]
        if np.any(np.abs(held.sum(axis=1) - whole) > TOLERANCE * (1 + whole)):
            yield f"bins do not sum to the {figure}"


def _room(values: FloatArray) -> FloatArray:
    return values * (1 + TOLERANCE) + TOLERANCE


def _semidefinite(matrices: FloatArray) -> bool:
    """Whether all matrices, ``(..., n, n)``, are symmetric and have no negative eigenvalue."""
    if not _symmetric(matrices):
        return False
    size = np.max(np.abs(matrices), initial=1.0, axis=(-1, -2))
    least = np.linalg.eigvalsh((matrices + np.swapaxes(matrices, -1, -2)) / 2)[..., 0]
    return bool(np.all(least >= -TOLERANCE * size * matrices.shape[-1]))


def _symmetric(matrices: FloatArray) -> bool:
    size = np.max(np.abs(matrices), initial=1.0, axis=(-1, -2))
    apart = np.abs(matrices - np.swapaxes(matrices, -1, -2))
    return not np.any(apart > TOLERANCE * size[..., None, None])
