"""Template tags for the counts of the loop."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from django import template

from webapp.models import CaseState
from webapp.queries import wording

register = template.Library()

SHOWN = (CaseState.NEW, CaseState.ACCEPTED, CaseState.LABELLING, CaseState.REVIEW, CaseState.DECIDED)


@register.filter
def at(values: Mapping[str, Any], key: str) -> Any:
    """Return one value of a mapping."""
    return values.get(key)


@register.filter
def duration(seconds: float) -> str:
    """Return a time in words."""
    return wording.duration(seconds)


@register.inclusion_tag("traffic.html")
def traffic(found: Mapping[str, Any]) -> dict[str, Any]:
    """Show what waits to be sent."""
    return {"parts": wording.traffic(found)}


@register.inclusion_tag("counts.html")
def counts(loop: Mapping[str, Any]) -> dict[str, Any]:
    """Show the number of cases in each state, schema by schema."""
    return {"loop": loop, "states": [(state.value, state.label) for state in SHOWN]}
