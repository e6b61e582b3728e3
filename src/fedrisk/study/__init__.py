"""The study contract and the records that rooms hand to each other."""

from fedrisk.study.catalogue import builtin_study, find_study
from fedrisk.study.contract import Bands, Study, load_study, parse_duration, parse_study
from fedrisk.study.features import CategoryFeature, Feature, NumberFeature

__all__ = [
    "Bands",
    "CategoryFeature",
    "Feature",
    "NumberFeature",
    "Study",
    "builtin_study",
    "find_study",
    "load_study",
    "parse_duration",
    "parse_study",
]
