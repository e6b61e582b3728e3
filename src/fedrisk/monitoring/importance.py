"""How much of the model's answer hangs on each feature."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping
from typing import Any

import numpy as np

from fedrisk.study import Study


def importance_of(study: Study, model: Mapping[str, Any]) -> dict[str, float]:
    """Each feature's share of the model's spread of log-odds over the training rows.

    Of a logistic model, a column's coefficient is its standard deviation of log-odds, because
    columns are standardised; a feature's is the root of the sum of its columns' squares. A model of
    a kind that does not tell counts every feature alike.

    Parameters
    ----------
    study : Study
    model : dict
        Its document.

    Returns
    -------
    dict of str to float
        Between 0 and 1, adding up to 1.
    """
    squares: dict[str, float] = defaultdict(float)
    for column in model.get("columns", ()):
        squares[column["feature"]] += float(column["coefficient"]) ** 2
    spreads = {name: float(np.sqrt(squares[name])) for name in study.feature_names}
    total = sum(spreads.values())
    if total == 0:
        return dict.fromkeys(spreads, 1 / len(spreads))
    return {name: spread / total for name, spread in spreads.items()}
