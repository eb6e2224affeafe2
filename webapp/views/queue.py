"""The queue: what waits, what it is limited to, and the next case."""

from __future__ import annotations

from dataclasses import replace

from django.contrib import messages
from django.http import HttpRequest, HttpResponse, QueryDict
from django.shortcuts import redirect, render
from django.urls import reverse
from django.utils.translation import gettext as _
from django.views.decorators.http import require_GET, require_POST

from webapp.actions import leases, savedviews, searches
from webapp.errors import CaseloopError
from webapp.queries import queue, search
from webapp.queries import savedviews as kept
from webapp.queries.filters import ANY, Filters
from webapp.queueform import FilterForm, SearchForm, ViewForm
from webapp.roles import STAFF, Role, allow, person_of, view_for

ORDER = "queue_order"  # In the session: the next case is the first of the list that somebody looked at last


@require_GET
@allow(*STAFF)
def queue_page(request: HttpRequest) -> HttpResponse:
    """List the cases that fit the filters in the address, in the order that it names."""
    form = FilterForm(request.GET)
    given = form.filters()
    if given.state != ANY and request.session.get(ORDER, "") != given.order:  # All states have one order only
        request.session[ORDER] = given.order
    page = queue.page(given, request.user, after=request.GET.get("after", ""))
    context = {
        "page": page,
        "form": form,
        "filters": given,
        "is_limited": given.is_limited,
        "orders": form.orders(given),
        "states": form.states(given),
        "schemas": form.schemas(given),
        "listed": {row.case.schema for row in page.rows},
        "removals": form.removals(given),
        "views": kept.of(person_of(request), shown=given),
        "words": search.words(given.search, request.user),
        "left_out": given.search is not None and search.leaves_out(),
        "elsewhere": [] if page.rows else queue.elsewhere(given, request.user),
        "title": _("Queue (%(count)s)") % {"count": page.total},
    }
    return render(request, "queue.html", context)


@require_POST
@allow(*STAFF)
def search_queue(request: HttpRequest) -> HttpResponse:
    """Limit the list to texts with the words that were sent; they stay out of its address."""
    given = _listed(request)
    form = SearchForm(request.POST)
    if not form.is_valid():
        messages.error(request, _("This cannot be searched for; expected at most 200 characters."))
        return _to_queue(given)
    words = form.cleaned_data["words"]
    if words and search.query(words) is None:
        messages.error(request, _("There is no word to search for; expected letters or digits."))
        return _to_queue(given)
    kept = searches.keep(person_of(request), words) if words else None
    return _to_queue(replace(given, search=kept.pk if kept else None))


@require_POST
@allow(*STAFF)
def save_view(request: HttpRequest) -> HttpResponse:
    """Keep what the list is limited to under a name."""
    given = _listed(request)
    form = ViewForm(request.POST)
    if not form.is_valid():
        messages.error(request, _("Give the view a name of at most 60 characters."))
        return _to_queue(given)
    try:
        view = savedviews.save(person_of(request), form.cleaned_data["name"], given)
    except CaseloopError as exc:
        messages.error(request, str(exc))
        return _to_queue(given)
    messages.success(request, _("The view is kept. Whoever sees cases can open its address."))
    return _to_queue(Filters.of(view.filters))


@require_POST
@allow(*STAFF)
def remove_view(request: HttpRequest, pk: int) -> HttpResponse:
    """Remove a view that this person keeps."""
    view_for(request.user, pk).delete()
    return redirect("queue")


@require_POST
@allow(Role.SUPERVISOR)
def next_case(request: HttpRequest) -> HttpResponse:
    """Lease the first case of the queue, and open it."""
    case = leases.take_next(person_of(request), order=request.session.get(ORDER, ""))
    if case is None:
        messages.info(request, _("Nothing waits for review."))
        return redirect("queue")
    return redirect("case", pk=case.pk)


def _listed(request: HttpRequest) -> Filters:
    """Return the filters of the list from which a form was sent."""
    return FilterForm(QueryDict(request.POST.get("list", ""))).filters()


def _to_queue(given: Filters) -> HttpResponse:
    return redirect(f"{reverse('queue')}?{given.query}" if given.query else reverse("queue"))
