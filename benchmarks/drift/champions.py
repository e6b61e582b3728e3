"""The champion with which a watch begins."""

from __future__ import annotations

from closed_loop import Standing
from fitting import fit
from windows import reference_of
from world import World


def first_champion(world: World) -> Standing:
    """Fitted to the training people's rows before the watch, with their weeks as reference."""
    setting = world.setting
    before = [rows.between(setting.start, setting.watch) for rows in world.sites]
    training = [rows.chosen(~rows.test) for rows in before]
    model = fit(world.study, [(rows.written, rows.events) for rows in training])
    reference = reference_of(world, model, setting.start, setting.watch)
    return Standing(model, reference, setting.watch)
