"""What the coordinator asks a site, and how it travels in a Flower message."""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, TypeVar

import numpy as np
from flwr.app import Array, ArrayRecord, ConfigRecord, RecordDict

from fedrisk import __version__
from fedrisk.attestation import Head
from fedrisk.errors import EgressError, FedriskError
from fedrisk.federation.compatibility import check_version
from fedrisk.federation.packing import pack
from fedrisk.models.comparison import comparison_dimensions
from fedrisk.models.contender import Contender
from fedrisk.models.design_matrix import DesignMatrix
from fedrisk.models.metrics import evaluation_dimensions
from fedrisk.models.summary import summary_dimensions
from fedrisk.profiles.window_counts import profile_dimensions
from fedrisk.study import Study, parse_study
from fedrisk.study.records import FloatArray, Record

#: Flower message type of each kind of query: category, then action.
MESSAGE_TYPES = {
    "summary": "query.summary",
    "newton": "train.newton",
    "descent": "train",
    "evaluation": "evaluate",
    "profile": "query.profile",
    "comparison": "evaluate.comparison",
    "placement": "evaluate.placement",
}
#: The one array of a query: parameters to evaluate at, or to start from.
PARAMETERS = "parameters"
#: What names in a question are made of: a site writes them in its log, and repeats them.
_NAME = re.compile(r"[A-Za-z0-9._:+-]{1,64}")
_NAMES = ("kind", "run-id", "as-of", "model", "strategy")

R = TypeVar("R", bound=Record)


@dataclass(frozen=True)
class Query:
    """One question to every site.

    Attributes
    ----------
    kind : str
        A key of `MESSAGE_TYPES`.
    study : Study
    run_id : str
    as_of : str
        ISO 8601; rows that are not mature then take no part.
    design : DesignMatrix or None
        None before the summary is known.
    parameters : (candidates, parameters) array
        Where to evaluate. For the summary, what sums are about, ``(1, numbers)``; empty for what
        follows from the study. For a placement, the contenders' scores over all sites, as
        `fedrisk.models.comparison.PooledScores` has them.
    options : mapping
        Numbers that the strategy adds, such as ``local-steps``.
    model : str
        Kind of model that is fitted; a site's policy names those that it takes part in.
    strategy : str
        How the model is fitted, as the coordinator tells; what it computes, ``kind`` says.
    since, until : str
        ISO 8601; only rows with time in ``[since, until)`` take part. An empty one leaves that end
        open.
    windows : tuple of pairs of str
        ISO 8601 times that a profile counts rows between, disjoint and in order; the end is not
        part of a window. Without any, all rows are in one, or option ``weeks`` says in how many of
        the site's latest weeks.
    contenders : tuple of Contender
        The models that a comparison is of, the champion first.
    receipt : str
        The coordinator's countersignature on the head of this site's egress log; may be empty.
    version : str
        The coordinator's release of fedrisk.
    """

    kind: str
    study: Study
    run_id: str
    as_of: str
    design: DesignMatrix | None = None
    parameters: FloatArray = field(default_factory=lambda: np.zeros((0, 0)))
    options: Mapping[str, float] = field(default_factory=dict)
    model: str = "logistic"
    strategy: str = "exact"
    since: str = ""
    until: str = ""
    windows: tuple[tuple[str, str], ...] = ()
    contenders: tuple[Contender, ...] = ()
    receipt: str = ""
    version: str = __version__

    def config(self) -> ConfigRecord:
        """Everything but the parameters."""
        document = None if self.design is None else self.design.document()
        return ConfigRecord(
            {
                **{name: float(value) for name, value in self.options.items()},
                "kind": self.kind,
                "study": self.study.canonical,
                "study-hash": self.study.hash,
                "run-id": self.run_id,
                "as-of": self.as_of,
                "design": json.dumps(document),
                "model": self.model,
                "strategy": self.strategy,
                "version": self.version,
                # Flower cannot count the bytes of an empty text.
                **{name: text for name, text in self._texts().items() if text},
            }
        )

    def _texts(self) -> dict[str, str]:
        contenders = [contender.document() for contender in self.contenders]
        return {
            "since": self.since,
            "until": self.until,
            "windows": json.dumps(self.windows) if self.windows else "",
            "contenders": json.dumps(contenders) if contenders else "",
            "receipt": self.receipt,
        }

    def content(self) -> RecordDict:
        """The message's content."""
        arrays = ArrayRecord({PARAMETERS: Array(np.atleast_2d(self.parameters))})
        return RecordDict({"arrays": arrays, "config": self.config()})

    @classmethod
    def from_content(cls, content: RecordDict) -> Query:
        """Read a message's content; the site's side of `content`.

        Raises
        ------
        EgressError
            When the question cannot be read, or its study does not match its hash.
        StudyError
            When the study breaks the contract of this version.
        FederationError
            When the coordinator's release does not work with this one.
        """
        try:
            return cls._read(content)
        except (KeyError, TypeError, ValueError) as error:
            raise EgressError(f"the question cannot be read: {type(error).__name__}") from None

    @classmethod
    def _read(cls, content: RecordDict) -> Query:
        usual = {"model": "logistic", "strategy": "exact"}
        config: dict[str, Any] = {**usual, **content.config_records["config"]}
        version = str(config.pop("version", ""))
        check_version(version, "the coordinator")  # first: the rest may mean something else there
        study = parse_study(str(config.pop("study")), "the coordinator's study")
        if study.hash != config.pop("study-hash"):
            raise EgressError("the study does not match its hash")
        design = json.loads(str(config.pop("design")))
        (array,) = content.array_records["arrays"].values()
        texts = {name: _name(config, name) for name in _NAMES}
        window = {name: _name(config, name) for name in ("since", "until") if name in config}
        return cls(
            kind=texts["kind"],
            study=study,
            run_id=texts["run-id"],
            as_of=texts["as-of"],
            design=None if design is None else DesignMatrix.from_document(design),
            parameters=np.atleast_2d(np.asarray(array.numpy(), np.float64)),
            model=texts["model"],
            strategy=texts["strategy"],
            **window,
            windows=_windows(str(config.pop("windows", "[]"))),
            contenders=_contenders(str(config.pop("contenders", "[]"))),
            receipt=str(config.pop("receipt", "")),
            version=version,
            options={k: float(v) for k, v in config.items() if isinstance(v, int | float)},
        )

    @property
    def centres(self) -> FloatArray | None:
        """What a summary's sums are about; None for what follows from the study."""
        return self.parameters[0] if self.parameters.size else None

    @property
    def digest(self) -> str:
        """SHA-256 of everything that the answer depends on, in hexadecimal."""
        about = [self.kind, self.model, self.study.hash, self.as_of, self.parameters.shape]
        document = None if self.design is None else self.design.document()
        window: list[Any] = [self.since, self.until] if self.since or self.until else []
        window += [self.windows] if self.windows else []
        window += [contender.document() for contender in self.contenders]
        text = json.dumps([*about, document, sorted(self.options.items()), *window])
        return hashlib.sha256(text.encode() + self.parameters.tobytes()).hexdigest()

    @property
    def dimensions(self) -> dict[str, int]:
        """Length of every axis that an answer to this question may have."""
        candidates, parameters = self.parameters.shape
        lengths = {"candidates": candidates, "parameters": parameters}
        windows = len(self.windows) or int(self.options.get("weeks", 1))
        own = evaluation_dimensions() | profile_dimensions(self.study, windows)
        models = comparison_dimensions(self.study, len(self.contenders))
        return summary_dimensions(self.study) | own | models | lengths


def _windows(text: str) -> tuple[tuple[str, str], ...]:
    """Read windows of time; whether these are times, a site's rules judge."""
    return tuple((str(start), str(end)) for start, end in json.loads(text))


def _contenders(text: str) -> tuple[Contender, ...]:
    """Read the models of a comparison; whether a site scores by them, its rules judge."""
    contenders = tuple(Contender.from_document(each) for each in json.loads(text))
    for contender in contenders:
        if not _NAME.fullmatch(contender.name):
            raise EgressError("a model's name is not 1 to 64 letters, digits or any of ._:+-")
    return contenders


def _name(config: dict[str, Any], name: str) -> str:
    """Take a short name out of a question."""
    value = str(config.pop(name))
    if not _NAME.fullmatch(value):
        raise EgressError(f"the question's {name!r} is not 1 to 64 letters, digits or any of ._:+-")
    return value


@dataclass(frozen=True)
class Reply:
    """One site's answer.

    Attributes
    ----------
    site : str
    arrays : mapping of "record/field" to array
    rows : int
        Training rows behind the answer, the weight in averaging strategies.
    version : str
        The site's release of fedrisk.
    """

    site: str
    arrays: Mapping[str, FloatArray]
    rows: int
    version: str = ""

    @property
    def size(self) -> int:
        """Payload in bytes."""
        return sum(array.nbytes for array in self.arrays.values())

    def record(self, kind: type[R], dimensions: Mapping[str, int]) -> R:
        """The record of this type, checked.

        Raises
        ------
        EgressError
            When it is missing, has another shape, or is not finite.
        """
        prefix = f"{kind.NAME}/"
        fields = {
            name.removeprefix(prefix): array
            for name, array in self.arrays.items()
            if name.startswith(prefix)
        }
        try:
            return kind.from_arrays(fields, dimensions)
        except EgressError as error:
            raise EgressError(f"site {self.site!r}: {error.message}") from None


def with_receipt(content: RecordDict, receipt: str) -> RecordDict:
    """A question's content for one site, with the receipt of what it sent before."""
    if not receipt:
        return content
    config = {**content.config_records["config"], "receipt": receipt}
    return RecordDict({**content, "config": ConfigRecord(config)})


def reply_content(
    site: str,
    study_hash: str,
    arrays: Mapping[str, FloatArray],
    rows: int,
    head: Head | None = None,
) -> RecordDict:
    """Content of a site's answer; with the signed head of its egress log where it keeps one."""
    about = {"name": site, "version": __version__, "study-hash": study_hash, "rows": rows}
    content = RecordDict(
        {
            "arrays": pack(arrays),
            "site": ConfigRecord(dict[str, Any](about)),
        }
    )
    return _with_head(content, head)


def refusal_content(site: str, error: FedriskError, head: Head | None = None) -> RecordDict:
    """Content of a site's refusal: the reason, without any value of a row."""
    reason = {"reason": error.message, "hint": error.hint, "class": type(error).__name__}
    content = RecordDict(
        {
            "refusal": ConfigRecord(dict[str, Any](reason)),
            "site": ConfigRecord({"name": site, "version": __version__}),
        }
    )
    return _with_head(content, head)


def _with_head(content: RecordDict, head: Head | None) -> RecordDict:
    if head is not None:
        content["egress"] = ConfigRecord(head.document())
    return content


def read_head(content: RecordDict) -> Head | None:
    """The signed head of the site's egress log that came with a reply, if it keeps one.

    Raises
    ------
    TamperedLogError
        When what came is no signed head.
    """
    record = content.config_records.get("egress")
    return None if record is None else Head.from_document(dict(record))
