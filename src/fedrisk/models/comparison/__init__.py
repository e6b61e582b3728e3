"""Models compared on the same rows of all sites, by two messages.

A site makes `ComparedRows` of its test rows. It answers the first question with
`comparison_counts`, the coordinator adds the answers up and asks the second with
`PooledScores.of(sum)`, a site answers with `placement_sums`, and `pool_comparison` makes a
`Comparison` of all answers. `compare_rows` does all of it in one process.
"""

from fedrisk.models.comparison.counts import (
    ComparisonCounts,
    comparison_counts,
    comparison_dimensions,
)
from fedrisk.models.comparison.figures import (
    Comparison,
    Difference,
    Estimate,
    GroupFigures,
    ModelFigures,
)
from fedrisk.models.comparison.placement import PlacementSums, PooledScores, placement_sums
from fedrisk.models.comparison.pooling import compare_rows, pool_comparison
from fedrisk.models.comparison.rows import ComparedRows, group_memberships, group_names

__all__ = [
    "ComparedRows",
    "Comparison",
    "ComparisonCounts",
    "Difference",
    "Estimate",
    "GroupFigures",
    "ModelFigures",
    "PlacementSums",
    "PooledScores",
    "compare_rows",
    "comparison_counts",
    "comparison_dimensions",
    "group_memberships",
    "group_names",
    "placement_sums",
    "pool_comparison",
]
