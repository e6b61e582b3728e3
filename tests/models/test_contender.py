"""What a question names of a model scores as the model does."""

from __future__ import annotations

import json

import numpy as np
import pytest

from fedrisk.models.contender import Contender
from fedrisk.models.design_matrix import design_from_summary
from fedrisk.models.logistic import LogisticModel
from fedrisk.models.summary import summarise
from fedrisk.study import parse_study

STUDY = parse_study(
    {
        "name": "s",
        "label": "ill",
        "positive": [1],
        "features": [
            {"name": "age", "kind": "number", "missing": "allow"},
            {"name": "sex", "kind": "category", "levels": ["f", "m"], "missing": "allow"},
        ],
    }
)


def test_it_scores_as_its_model_and_travels_to_the_last_bit() -> None:
    random = np.random.default_rng(0)
    columns = {
        "age": np.where(random.random(200) < 0.1, np.nan, random.normal(50, 9, 200)),
        "sex": random.integers(-1, 2, 200).astype(np.int32),
    }
    design = design_from_summary(STUDY, summarise(STUDY, columns, random.random(200) < 0.4))
    size = len(design.columns)
    model = LogisticModel(STUDY, design, -0.7, random.normal(0, 1, size), np.eye(1 + size))
    contender = Contender.of("champion", model)
    assert contender.logit(columns) == pytest.approx(model.logit(columns), abs=1e-12)
    back = Contender.from_document(json.loads(json.dumps(contender.document())))
    assert back.name == "champion"
    assert back.design == design
    assert back.parameters.tobytes() == contender.parameters.tobytes()


@pytest.mark.parametrize("document", [{}, {"name": "a", "design": 3}, {"name": "a", "design": []}])
def test_what_is_none_is_no_contender(document: dict[str, object]) -> None:
    with pytest.raises((KeyError, TypeError, ValueError)):
        Contender.from_document(document)
