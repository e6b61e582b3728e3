"""The page at ``/``: what is served here and how to ask it. It needs nothing from elsewhere."""

from __future__ import annotations

import json
import shlex
from html import escape

from fedrisk.serving.champion import ServedModel
from fedrisk.study import Feature, NumberFeature

_STYLE = (
    "body{font:16px/1.5 system-ui,sans-serif;max-width:50rem;margin:2rem auto;padding:0 1rem}"
    "table{border-collapse:collapse}td,th{padding:.2rem .8rem .2rem 0;text-align:left}"
    "pre{background:#f4f4f4;color:#111;padding:1rem;overflow-x:auto}"
)


def front_page(served: ServedModel | None, reason: str, url: str) -> str:
    """The page's HTML.

    Parameters
    ----------
    served : ServedModel or None
    reason : str
        Why there is no model.
    url : str
        Where the API was found, without a final slash.
    """
    if served is None:
        title, body = "fedrisk", f"<p>No model serves yet: {escape(reason)}.</p>"
    else:
        study = served.stored.model.study
        title, body = study.title or study.name, _model(served, url)
    links = " · ".join(
        f'<a href="{path}">{path}</a>' for path in ("/docs", "/model", "/ready", "/metrics")
    )
    return (
        f'<!doctype html><html lang="en"><meta charset="utf-8">'
        f'<meta name="viewport" content="width=device-width"><title>{escape(title)}</title>'
        f"<style>{_STYLE}</style><h1>{escape(title)}</h1>{body}<p>{links}</p></html>\n"
    )


def _model(served: ServedModel, url: str) -> str:
    stored = served.stored
    rows = "".join(_feature(feature) for feature in stored.model.study.features)
    example = json.dumps(stored.checks[0]["row"], ensure_ascii=False)
    command = (
        f"curl -X POST {shlex.quote(url + '/predict?explain=true')} "
        f"-H 'Content-Type: application/json' -d {shlex.quote(example)}"
    )
    return (
        f"<p>Model {escape(stored.name)}, version {escape(stored.version)}.</p>"
        f"<table><tr><th>feature</th><th>unit</th><th>value</th><th>missing</th></tr>{rows}</table>"
        f"<pre>{escape(command)}</pre>"
    )


def _feature(feature: Feature) -> str:
    unit = feature.unit if isinstance(feature, NumberFeature) else ""
    cells = (feature.name, unit, feature.bounds_text, feature.missing)
    return "<tr>" + "".join(f"<td>{escape(cell)}</td>" for cell in cells) + "</tr>"
