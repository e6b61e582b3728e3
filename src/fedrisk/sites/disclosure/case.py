"""What the disclosure rules judge: a question, a policy, and the rows it is asked of."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from functools import cached_property
from typing import Protocol

import numpy as np

from fedrisk.models.contender import Contender
from fedrisk.models.design_matrix import DesignMatrix
from fedrisk.models.logistic import expit
from fedrisk.sites.cohort import Cohort
from fedrisk.sites.policy import Policy
from fedrisk.study import Study
from fedrisk.study.records import BoolArray, FloatArray


class Question(Protocol):
    """What a rule reads of a question."""

    @property
    def kind(self) -> str: ...
    @property
    def model(self) -> str: ...
    @property
    def strategy(self) -> str: ...
    @property
    def study(self) -> Study: ...
    @property
    def design(self) -> DesignMatrix | None: ...
    @property
    def parameters(self) -> FloatArray: ...
    @property
    def options(self) -> Mapping[str, float]: ...
    @property
    def as_of(self) -> str: ...
    @property
    def since(self) -> str: ...
    @property
    def until(self) -> str: ...
    @property
    def windows(self) -> tuple[tuple[str, str], ...]: ...
    @property
    def contenders(self) -> tuple[Contender, ...]: ...


#: Kinds of question that are about test rows.
JUDGING = ("evaluation", "comparison", "placement")
#: Those of them that are about several models.
COMPARING = ("comparison", "placement")


def kish(weights: FloatArray) -> float:
    """Effective sample size of weights: ``(sum of w)^2 / sum of w^2`` (Kish 1965); 0 for none.

    >>> kish(np.array([1.0, 1.0, 0.0])), kish(np.zeros(3))
    (2.0, 0.0)
    """
    largest = float(np.max(np.abs(weights), initial=0.0))
    if largest == 0:
        return 0.0
    scaled = np.abs(weights) / largest
    return float(scaled.sum() ** 2 / np.sum(scaled**2))


@dataclass(frozen=True)
class Case:
    """A question, the policy it is judged by, and, once opened, the site's rows.

    Attributes
    ----------
    policy : Policy
    question : Question
    cohort : Cohort or None
        With small groups recoded; None while the rows are not open.
    at : (candidates, parameters) array, optional
        Judge these parameters in place of the question's.
    contender : Contender, optional
        The one of the question's models that is judged.
    """

    policy: Policy
    question: Question
    cohort: Cohort | None = None
    at: FloatArray | None = None
    contender: Contender | None = None

    @property
    def parts(self) -> tuple[Case, ...]:
        """A case for each of the question's models; the case itself where it is about one."""
        if self.contender is not None or not self.question.contenders:
            return (self,)
        return tuple(replace(self, contender=each) for each in self.question.contenders)

    @property
    def judges(self) -> bool:
        """Whether the question is about test rows."""
        return self.question.kind in JUDGING

    @property
    def design(self) -> DesignMatrix | None:
        """Of the model that is judged."""
        return self.question.design if self.contender is None else self.contender.design

    @property
    def parameters(self) -> FloatArray:
        """What sums are computed at, ``(candidates, parameters)``."""
        if self.at is not None:
            return self.at
        if self.contender is not None:
            return np.atleast_2d(self.contender.parameters)
        return self.question.parameters

    def moved(self, parameters: FloatArray) -> Case:
        """The same case at other parameters; its rows are not transformed again."""
        other = replace(self, at=np.atleast_2d(parameters))
        other.__dict__["rows"] = self.rows
        return other

    @cached_property
    def rows(self) -> tuple[FloatArray, BoolArray]:
        """Standardised columns and events of the rows that the question is about."""
        if self.cohort is None or self.design is None:
            raise ValueError("this question is about no design matrix, or its rows are not open")
        columns, events = self.cohort.part(test=self.judges)
        with np.errstate(all="ignore"):
            return self.design.transform(columns), events

    @cached_property
    def logits(self) -> FloatArray:
        """Log-odds of every row at every parameter vector, ``(candidates, rows)``."""
        matrix, _ = self.rows
        with np.errstate(all="ignore"):
            beta = self.parameters
            logits: FloatArray = beta[:, :1] + beta[:, 1:] @ matrix.T
        return logits

    @cached_property
    def effective_rows(self) -> float:
        """Least effective sample size of the weights behind the Hessian, gradient and loss.

        Outcomes take no part: the sum of the events' rows is the same at all parameters, so what
        is left of gradient and loss without it are sums weighted by risks, and by what they cost.
        """
        sizes = []
        for logit in self.logits:
            risk = expit(logit)
            sizes.append(kish(risk * (1 - risk)))
            if self.fits:
                cost = np.logaddexp(0.0, logit)
                sizes += [kish(weight) for weight in (risk, 1 - risk, cost, cost - logit)]
        return min(sizes, default=0.0)

    @property
    def enough_test_rows(self) -> bool:
        """Whether there are test rows, and both outcomes among them, for an evaluation."""
        if self.cohort is None:
            return False
        events, policy = self.cohort.events[self.cohort.test & ~self.left_out], self.policy
        outcomes = (int(events.sum()), int((~events).sum()))
        return len(events) >= policy.test_rows and min(outcomes) >= policy.test_events

    @property
    def left_out(self) -> BoolArray:
        """Rows that are not judged because a score led to care, ``(usable,)``."""
        if self.cohort is None:
            raise ValueError("the rows are not open")
        if self.cohort.treated is None or not self.question.options.get("untreated"):
            return np.zeros(len(self.cohort.events), bool)
        return self.cohort.treated

    @property
    def fits(self) -> bool:
        """Whether the question evaluates sums over training rows."""
        return self.question.kind in ("newton", "descent")
