"""Addresses. Each view names the roles that may open it; tests walk this table with every role."""

from django.contrib.auth.views import LoginView, LogoutView
from django.urls import path

from webapp.views import backend, cases, health, home, imports, models, people, queue, webhooks

urlpatterns = [
    path("", home.home, name="home"),
    path("label/", home.label, name="label"),
    path("label/<slug:schema>/open/", home.open_label_studio, name="open-label-studio"),
    path("status/", home.status, name="status"),
    path("status/label-studio/", health.label_studio, name="label-studio"),
    path("status/label-studio/examine/", health.examine, name="examine-label-studio"),
    path("healthz", home.alive, name="alive"),
    path("readyz", home.ready, name="ready"),
    path("sign-in/", LoginView.as_view(template_name="sign_in.html", redirect_authenticated_user=True), name="sign-in"),
    path("sign-out/", LogoutView.as_view(), name="sign-out"),
    path("queue/", queue.queue_page, name="queue"),
    path("queue/next/", queue.next_case, name="next-case"),
    path("queue/search/", queue.search_queue, name="search-queue"),
    path("queue/views/", queue.save_view, name="save-view"),
    path("queue/views/<int:pk>/remove/", queue.remove_view, name="remove-view"),
    path("cases/<int:pk>/", cases.case_page, name="case"),
    path("cases/<int:pk>/hold/", cases.hold, name="hold"),
    path("cases/<int:pk>/release/", cases.release, name="release"),
    path("imports/", imports.import_list, name="imports"),
    path("imports/<int:pk>/", imports.import_page, name="import"),
    path("imports/<int:pk>/confirm/", imports.confirm, name="confirm-import"),
    path("exports/<slug:schema>/", imports.export, name="export"),
    path("models/", models.overview, name="models"),
    path("models/<slug:schema>/retrain/", models.retrain, name="retrain"),
    path("models/runs/<int:pk>/", models.run_page, name="run"),
    path("models/runs/<int:pk>/cancel/", models.cancel, name="cancel-run"),
    path("models/versions/<int:pk>/", models.version_page, name="version"),
    path("models/versions/<int:pk>/promote/", models.promote, name="promote"),
    path("people/", people.people_list, name="people"),
    path("people/<int:pk>/deactivate/", people.deactivate, name="deactivate"),
    path("people/<int:pk>/reactivate/", people.reactivate, name="reactivate"),
    path("ls-backend/health", backend.health, name="backend-health"),
    path("ls-backend/setup", backend.setup, name="backend-setup"),
    path("ls-backend/predict", backend.predict, name="backend-predict"),
    path("ls-backend/webhook", backend.webhook, name="backend-webhook"),
    path("webhooks/label-studio/", webhooks.label_studio, name="label-studio-webhook"),
]
