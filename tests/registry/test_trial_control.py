"""What says how a challenger is tried survives the way through a tag, and nonsense does not."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from fedrisk.errors import RegistryError
from fedrisk.registry.trial_control import TrialControl


@given(st.floats(0, 1), st.booleans())
def test_it_is_read_as_it_was_written(share, shadow):
    control = TrialControl(share, shadow)
    assert TrialControl.from_text(control.text()) == control


@pytest.mark.parametrize(
    "text",
    [
        "",
        "[]",
        "{}",
        '{"share": 2, "shadow": true}',
        '{"share": NaN, "shadow": true}',
        '{"share": 0.5, "shadow": "no"}',
        '{"share": null, "shadow": true}',
    ],
)
def test_nonsense_is_refused(text):
    with pytest.raises(RegistryError):
        TrialControl.from_text(text)
