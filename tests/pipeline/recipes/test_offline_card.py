"""The card of merc-offline is generated from its figures, whatever the order of their keys."""

from __future__ import annotations

import json
from pathlib import Path

import css_model
from pipeline.recipes.offline_card import offline_card

WEIGHTS = Path(css_model.__file__).parent / "weights"


def reversed_keys(value):
    """Reverse the order of keys in nested dicts."""
    if isinstance(value, dict):
        return {key: reversed_keys(value[key]) for key in reversed(value)}
    return value


def test_the_shipped_card_matches_its_figures():
    figures = json.loads((WEIGHTS / "merc-offline.json").read_text("utf-8"))
    card = (WEIGHTS / "merc-offline.md").read_text("utf-8")
    assert offline_card(figures) == offline_card(reversed_keys(figures)) == card
