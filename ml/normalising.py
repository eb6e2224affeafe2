"""What is done to a text before it is cut into word pieces, by the name that a model folder gives."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping

_OTHERS = re.compile(r"[^a-z0-9\s]")


def as_it_is(text: str) -> str:
    """Change nothing, so that ranges of the text stay what they are."""
    return text


def plain(text: str) -> str:
    """Lower the case and keep only a to z, digits and white space, as the published checkpoint was trained on."""
    return _OTHERS.sub("", text.lower().strip())


BY_NAME: Mapping[str, Callable[[str], str]] = {"none": as_it_is, "plain": plain}
