"""The file `var/env`: the secrets and addresses by which every program of one Caseloop finds the others.

A variable of the process's own environment always wins over the file, and is never written to it.
"""

import os
import secrets
from collections.abc import Callable, Mapping
from pathlib import Path

SECRETS: Mapping[str, Callable[[], str]] = {
    "SECRET_KEY": lambda: secrets.token_urlsafe(50),
    "LABEL_STUDIO_API_KEY": lambda: secrets.token_hex(20),  # Label Studio takes exactly 40 hexadecimal digits
    "LABEL_STUDIO_WEBHOOK_SECRET": lambda: secrets.token_urlsafe(32),
    "LABEL_STUDIO_BRIDGE_SECRET": lambda: secrets.token_urlsafe(32),
    "LABEL_STUDIO_BACKEND_PASSWORD": lambda: secrets.token_urlsafe(32),
    "LABEL_STUDIO_ADMIN_PASSWORD": lambda: secrets.token_urlsafe(16),
}


def is_set(name: str) -> bool:
    """Say whether the process's own environment gives a value, or names the file that holds it."""
    return name in os.environ or f"{name}_FILE" in os.environ


def read(path: Path) -> dict[str, str]:
    """Read the file, which need not exist, and let the process's own environment win."""
    stored = _stored(path)
    return stored | {name: os.environ[name] for name in stored.keys() | SECRETS.keys() if name in os.environ}


def write(path: Path, addresses: Mapping[str, str]) -> None:
    """Write the file anew, readable by its owner only: secrets are kept, or made; addresses are replaced."""
    stored = _stored(path)
    kept = {name: stored.get(name) or make() for name, make in SECRETS.items()}
    current = {name: value for name, value in addresses.items() if not is_set(name)}
    lines = [f"{name}={value}\n" for name, value in (kept | current).items()]

    draft = path.with_name(f"{path.name}.new")
    draft.unlink(missing_ok=True)
    with os.fdopen(os.open(draft, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "w") as file:
        file.writelines(["# Written by `make run`. Secrets are kept from start to start.\n", *lines])
    draft.replace(path)  # At once: a program that reads meanwhile sees the old file or the new one


def _stored(path: Path) -> dict[str, str]:
    if not path.exists():
        return {}
    lines = (line for line in path.read_text().splitlines() if "=" in line and not line.startswith("#"))
    return dict(line.split("=", maxsplit=1) for line in lines)
