"""Standing in for services that programs call already, so that these gain a loop without a change.

Each call stores a case. They are off unless `DROPINS` names them, and take a token, or calls from `DROPIN_NETWORKS`.
"""

from __future__ import annotations

from dataclasses import dataclass
from ipaddress import ip_address, ip_network
from typing import Annotated, Any

from django.conf import settings
from django.http import Http404, HttpRequest
from ninja import Schema
from pydantic import Field

from webapp.api.base import ERRORS, Problem, TokenAuth, limit
from webapp.casefiles.columns import LONGEST
from webapp.models import Schema as LabelSchema
from webapp.models import Scope, Token

CLASSIFY, TAGGER, HELPLINE = "classify", "tagger", "helpline"
SCHEMAS = {CLASSIFY: "helpline", TAGGER: "customer", HELPLINE: "helpline"}  # Label schemas by which they answer


# A text that is none is answered with 400, as the services did, and so only described here
SAYS_SOMETHING: dict[str, Any] = {"maxLength": LONGEST["text"], "pattern": r"[^\s\x00-\x1f\x85]"}
Text = Annotated[str, Field(json_schema_extra=SAYS_SOMETHING)]
REFUSALS: dict[Any, Any] = {404: Problem, **ERRORS}  # The service may be off
STORING = {409: Problem, **REFUSALS}


class Call(Schema):
    """A body of theirs: what nobody reads of it is passed over, as the services did."""


@dataclass(frozen=True, slots=True)
class Client:
    """Who calls: the source of its cases, and its token where it has one."""

    source: str
    token: Token | None = None


class DropinAuth(TokenAuth):
    """Let calls of a service in that is switched on, by a token or from a network that is named."""

    def __init__(self, service: str) -> None:
        super().__init__(Scope.DROPINS)
        self.service = service

    def __call__(self, request: HttpRequest) -> Any:
        """Return who calls.

        Raises:
            Http404: the service is off.
            Refused: the call has no good token, and comes from elsewhere.
        """
        if self.service not in settings.DROPINS:
            raise Http404
        if "Authorization" not in request.headers and is_near(request):
            limit(f"address-{address_of(request)}")
            return Client(self.service)
        token = super().__call__(request)
        return Client(token.name, token)


def client_of(request: HttpRequest) -> Client:
    """Return who calls, in an operation that `DropinAuth` guards."""
    client: Client = request.auth  # type: ignore[attr-defined]
    return client


def schema_of(service: str) -> LabelSchema:
    """Return the label schema by which a service answers."""
    return LabelSchema.objects.get(name=SCHEMAS[service])


def is_near(request: HttpRequest) -> bool:
    """Whether a call comes from a network that is named."""
    try:
        address = ip_address(address_of(request))
    except ValueError:
        return False
    return any(address in ip_network(network) for network in settings.DROPIN_NETWORKS)


def address_of(request: HttpRequest) -> str:
    """Return the address that a call comes from; the empty text where nobody can know.

    Behind a proxy it is the one that this added; whatever stands before that, the caller may have written itself. A
    header that names an address where no proxy is known of means that there is one all the same.
    """
    forwarded = request.headers.get("X-Forwarded-For", "")
    if settings.BEHIND_PROXY:
        return forwarded.rpartition(",")[2].strip()
    return "" if forwarded else str(request.META.get("REMOTE_ADDR", ""))
