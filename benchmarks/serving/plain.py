"""What most people write: FastAPI, a Pydantic model, scikit-learn on one row."""

from __future__ import annotations

import numpy as np
from fastapi import FastAPI
from pydantic import create_model
from sklearn.linear_model import LogisticRegression

from fedrisk.study import find_study

STUDY = find_study("air-wearables")
NAMES = [feature.name for feature in STUDY.numbers if feature.missing == "reject"]
Row = create_model("Row", **dict.fromkeys(NAMES, (float, ...)))  # type: ignore[call-overload]

random = np.random.default_rng(1)
model = LogisticRegression().fit(random.normal(size=(500, len(NAMES))), random.random(500) < 0.3)
app = FastAPI()


@app.post("/predict")
async def predict(row: Row) -> dict[str, float]:
    """One prediction."""
    values = [[getattr(row, name) for name in NAMES]]
    return {"risk_score": float(model.predict_proba(values)[0, 1])}
