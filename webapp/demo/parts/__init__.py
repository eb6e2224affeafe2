"""What the demo's texts are made of: one folder of parts to train on, one of other parts to hold out."""

from __future__ import annotations

import tomllib
from pathlib import Path
from typing import Any

FOLDER = Path(__file__).parent
FILES = ("agent", "customer", "names", "voices")


def topics() -> dict[str, Any]:
    """Return what is common to both pools: the kinds of calls."""
    return _read(FOLDER / "topics.toml")


def pool(name: str) -> dict[str, Any]:
    """Return one pool of parts, `train` or `test`, by file name; the stories of all their files are one part."""
    folder = FOLDER / name
    stories = {sub: story for file in sorted(folder.glob("stories/*.toml")) for sub, story in _read(file).items()}
    return {file: _read(folder / f"{file}.toml") for file in FILES} | {"stories": stories}


def mixed(one: Any, other: Any) -> Any:
    """Return two pools as one: tables key by key, lists one after the other."""
    if isinstance(one, dict):
        return {
            key: mixed(one[key], other[key]) if key in one and key in other else one.get(key, other.get(key))
            for key in {**one, **other}
        }
    return [*one, *other]


def _read(path: Path) -> dict[str, Any]:
    return tomllib.loads(path.read_text(encoding="utf-8"))
