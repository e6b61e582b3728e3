"""A model as a question names it: no more than what scores a row."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Self

import numpy as np

from fedrisk.models.design_matrix import DesignMatrix
from fedrisk.models.logistic import LogisticModel
from fedrisk.study.records import Columns, FloatArray


@dataclass(frozen=True, eq=False)
class Contender:
    """One of the models that are compared.

    Attributes
    ----------
    name : str
    design : DesignMatrix
    parameters : (1 + columns,) array
        Intercept and standardised coefficients.
    """

    name: str
    design: DesignMatrix
    parameters: FloatArray

    @classmethod
    def of(cls, name: str, model: LogisticModel) -> Self:
        """What of a model scores a row."""
        parameters = np.concatenate([[model.intercept], model.coefficients])
        return cls(name, model.design, parameters)

    def logit(self, columns: Columns) -> FloatArray:
        """Log-odds of an event, ``(rows,)``."""
        logit: FloatArray = (
            self.parameters[0] + self.design.transform(columns) @ self.parameters[1:]
        )
        return logit

    def document(self) -> dict[str, Any]:
        """The contender as JSON values."""
        return {
            "name": self.name,
            "design": self.design.document(),
            "parameters": self.parameters.tolist(),
        }

    @classmethod
    def from_document(cls, document: Mapping[str, Any]) -> Self:
        """Rebuild from `document`.

        Raises
        ------
        KeyError, TypeError, ValueError
            When it is none.
        """
        return cls(
            str(document["name"]),
            DesignMatrix.from_document(document["design"]),
            np.array(document["parameters"], np.float64).reshape(-1),
        )
