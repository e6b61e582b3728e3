"""A site's test rows, scored by the models that are compared."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from fedrisk.errors import FederationError
from fedrisk.models.comparison import ComparedRows
from fedrisk.models.contender import Contender
from fedrisk.sites.cohort import Cohort


def compared_rows(
    cohort: Cohort, contenders: Sequence[Contender], *, untreated: bool = False
) -> ComparedRows:
    """Score a cohort's test rows by every model.

    Parameters
    ----------
    cohort : Cohort
        Of the window of time that the comparison is about.
    contenders : sequence of Contender
        The champion first.
    untreated : bool
        Compare on rows that no score led to care for alone.

    Raises
    ------
    FederationError
        When no model is named, or untreated rows are asked for and the study does not tell them.
    """
    if not contenders:
        raise FederationError("a comparison came without a model")
    if untreated and cohort.treated is None:
        raise FederationError(f"study {cohort.study.name!r} does not tell which rows were treated")
    columns, events = cohort.part(test=True)
    chosen = cohort.test
    return ComparedRows.of(
        cohort.study,
        columns,
        events,
        np.stack([contender.logit(columns) for contender in contenders]),
        treated=None if cohort.treated is None else cohort.treated[chosen],
        people=None if cohort.persons is None else cohort.persons[chosen],
        times=None if cohort.times is None else cohort.times[chosen],
        untreated=untreated,
    )
