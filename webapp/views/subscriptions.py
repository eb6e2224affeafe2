"""Which other systems are told of events, and what came of telling them."""

from __future__ import annotations

from django.contrib import messages
from django.http import HttpRequest, HttpResponse
from django.shortcuts import get_object_or_404, redirect, render
from django.views.decorators.cache import never_cache
from django.views.decorators.http import require_GET, require_http_methods, require_POST

from webapp.actions import deliveries, subscriptions
from webapp.errors import CaseloopError
from webapp.forms import SubscriptionForm
from webapp.models import Delivery, Event, Subscription
from webapp.queries import subscriptions as told
from webapp.roles import Role, allow, person_of


@require_http_methods(["GET", "POST"])
@never_cache
@allow(Role.ADMIN)
def subscription_list(request: HttpRequest) -> HttpResponse:
    """List the addresses that are told of events, and take a new one; its secret is on the answer to that alone."""
    form = SubscriptionForm(request.POST or None)
    made = None
    if request.method == "POST" and form.is_valid():
        given = form.cleaned_data
        try:
            made = subscriptions.subscribe(
                given["address"], given["events"], schema=given["schema"], by=person_of(request)
            )
        except CaseloopError as exc:
            form.add_error("address", str(exc))
        else:
            form = SubscriptionForm()
    context = {
        "form": form,
        "made": made,
        "secret": made and subscriptions.secret_of(made),
        "subscriptions": told.everyone(),
        "title": "Webhooks out",
    }
    return render(request, "subscriptions.html", context, status=422 if form.errors else 200)


@require_GET
@allow(Role.ADMIN)
def subscription_page(request: HttpRequest, pk: int) -> HttpResponse:
    """Show what was sent to one address, and what came of it."""
    row = get_object_or_404(told.everyone(), pk=pk)
    context = {
        "row": row,
        "events": [event.label for event in Event if event in row.events],
        "deliveries": told.newest(row),
        "title": f"Webhooks to {row.address}",
    }
    return render(request, "subscription.html", context)


@require_POST
@allow(Role.ADMIN)
def test(request: HttpRequest, pk: int) -> HttpResponse:
    """Send an event that tells of nothing."""
    subscriptions.test(get_object_or_404(Subscription, pk=pk))
    messages.info(request, "A test is on its way; what comes of it is in the log below.")
    return redirect("webhook-out", pk=pk)


@require_POST
@allow(Role.ADMIN)
def pause(request: HttpRequest, pk: int) -> HttpResponse:
    """Send nothing there for a while."""
    subscriptions.pause(get_object_or_404(Subscription, pk=pk), by=person_of(request))
    return redirect("webhook-out", pk=pk)


@require_POST
@allow(Role.ADMIN)
def resume(request: HttpRequest, pk: int) -> HttpResponse:
    """Send there again."""
    subscriptions.resume(get_object_or_404(Subscription, pk=pk), by=person_of(request))
    return redirect("webhook-out", pk=pk)


@require_POST
@allow(Role.ADMIN)
def remove(request: HttpRequest, pk: int) -> HttpResponse:
    """End a subscription."""
    subscriptions.remove(get_object_or_404(Subscription, pk=pk), by=person_of(request))
    messages.info(request, "The subscription was removed, with its log.")
    return redirect("webhooks-out")


@require_POST
@allow(Role.ADMIN)
def replay(request: HttpRequest, pk: int) -> HttpResponse:
    """Send something again."""
    row = get_object_or_404(Delivery, pk=pk)
    deliveries.replay(row, by=person_of(request))
    return redirect("webhook-out", pk=row.subscription_id)
