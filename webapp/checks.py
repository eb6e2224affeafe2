"""Settings that are legal but wrong, found at start."""

from __future__ import annotations

from importlib.util import find_spec
from ipaddress import ip_network
from typing import Any

from django.conf import settings
from django.core.checks import CheckMessage, Error, register

DROPINS = ("classify", "tagger", "helpline")


@register
def secrets_are_long(app_configs: Any, **kwargs: Any) -> list[CheckMessage]:
    """Refuse secrets that can be guessed."""
    weak = [
        name
        for name in ("SECRET_KEY", "LABEL_STUDIO_WEBHOOK_SECRET", "LABEL_STUDIO_BACKEND_PASSWORD")
        if getattr(settings, name) and len(getattr(settings, name)) < 20
    ]
    return [
        Error(f"{name} is shorter than 20 characters", hint="openssl rand -hex 32", id="webapp.E001") for name in weak
    ]


@register
def mlflow_is_installed_where_it_is_used(app_configs: Any, **kwargs: Any) -> list[CheckMessage]:
    """Refuse an address of an MLflow server that nothing can speak to."""
    if not settings.MLFLOW_TRACKING_URI or find_spec("mlflow"):
        return []
    hint = "pip install -r requirements-mlflow.txt"
    return [Error("MLFLOW_TRACKING_URI is set, and MLflow is not installed", hint=hint, id="webapp.E002")]


@register
def leases_outlive_a_turn(app_configs: Any, **kwargs: Any) -> list[CheckMessage]:
    """Refuse leases that end before a page has told again that somebody is at work, which it does once a minute."""
    if settings.LEASE_MINUTES >= 2:
        return []
    return [Error(f"LEASE_MINUTES is {settings.LEASE_MINUTES}; expected 2 at least", id="webapp.E003")]


@register
def dropins_are_known(app_configs: Any, **kwargs: Any) -> list[CheckMessage]:
    """Refuse services that nobody stands in for."""
    wrong = [name for name in settings.DROPINS if name not in DROPINS]
    return [Error(f"DROPINS has {name!r}", hint=f"of {DROPINS}", id="webapp.E004") for name in wrong]


@register
def networks_are_networks(app_configs: Any, **kwargs: Any) -> list[CheckMessage]:
    """Refuse networks that are none."""
    found: list[CheckMessage] = []
    for name in ("DROPIN_NETWORKS", "WEBHOOK_NETWORKS"):
        for network in getattr(settings, name):
            try:
                ip_network(network)
            except ValueError as exc:
                found.append(Error(f"{name}: {exc}", hint="as 10.1.0.0/16", id="webapp.E005"))
    return found
