"""Standard errors of rows that are not independent: clustered by person and by day.

A figure is a linear form of sums over rows. Its variance is that of the sums over clusters: by
person, by day, and their overlap, V = V(person) + V(day) - V(person and day) (Cameron, Gelbach and
Miller, Journal of Business and Economic Statistics 2011;29:238). For AUROCs the person's part is
that of Obuchowski (Biometrics 1997;53:567), and without repeated rows that of DeLong.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from fedrisk.study.records import FloatArray

Codes = NDArray[np.int64]
#: What rows are clustered by, in the order of the axis ``clusterings``.
CLUSTERINGS = ("person", "day", "person and day")


def clusterings(people: Codes, days: Codes) -> tuple[Codes, ...]:
    """Dense cluster codes of each row, one array for each of `CLUSTERINGS`."""
    person = np.unique(people, return_inverse=True)[1]
    day = np.unique(days, return_inverse=True)[1]
    both = np.unique(person * (int(day.max(initial=0)) + 1) + day, return_inverse=True)[1]
    return person, day, both


def cluster_counts(codes: tuple[Codes, ...]) -> FloatArray:
    """How many clusters have a row, ``(clusterings,)``."""
    return np.array([float(np.count_nonzero(np.bincount(each))) for each in codes])


def cluster_moments(values: FloatArray, codes: tuple[Codes, ...]) -> FloatArray:
    """Sum over clusters of the outer product of each cluster's sums.

    Parameters
    ----------
    values : (figures, rows) array
    codes : tuple of (rows,) arrays
        `clusterings`, of these rows or of more.

    Returns
    -------
    (clusterings, figures, figures) array
    """
    moments = []
    for each in codes:
        sums = np.stack([np.bincount(each, row) for row in values]) if len(each) else values
        moments.append(sums @ sums.T)
    return np.stack(moments)


def form_covariance(forms: FloatArray, moments: FloatArray, clusters: FloatArray) -> FloatArray:
    """Covariance of linear forms of sums, each of mean zero over clusters.

    Each part has the correction I / (I - 1) for I clusters. The sum of the three parts may have a
    variance below that by person alone where a day's rows differ more than chance makes them; the
    person's part is taken then, so that days never make a figure look surer.

    Parameters
    ----------
    forms : (forms, figures) array
    moments : (clusterings, figures, figures) array
    clusters : (clusterings,) array

    Returns
    -------
    (forms, forms) array
        NaN where there are fewer than two people or days.
    """
    if np.any(clusters < 2):
        return np.full((len(forms), len(forms)), np.nan)
    parts = [
        forms @ moment @ forms.T * (count / (count - 1))
        for moment, count in zip(moments, clusters, strict=True)
    ]
    both: FloatArray = parts[0] + parts[1] - parts[2]
    person: FloatArray = parts[0]
    return both if np.all(np.diag(both) >= np.diag(person)) else person


def form_variance(form: FloatArray, moments: FloatArray, clusters: FloatArray) -> float:
    """Variance of one linear form ``(figures,)``; see `form_covariance`."""
    return float(form_covariance(form[None, :], moments, clusters)[0, 0])
