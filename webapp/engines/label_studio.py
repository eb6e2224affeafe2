"""The embedded Label Studio, in a virtual environment of its own, because its pins clash with ours.

It gets an environment made from nothing: every setting of its own is also read under its bare name, so a
PORT or DEBUG of ours would become its own. With these settings it makes no connection to the outside.
"""

import importlib.metadata
import os
import subprocess
from collections.abc import Mapping
from pathlib import Path

from webapp.engines import EngineError, ports, processes
from webapp.engines.folders import REPOSITORY

VENV = REPOSITORY / ".venv-label-studio"
EXTENSION = REPOSITORY / "webapp" / "label_studio_ext"
ADMIN_EMAIL = "admin@caseloop.local"

# What Label Studio refuses to send webhooks to by default, but for 127.0.0.0/8, where our web server listens.
BANNED_SUBNETS = (
    "0.0.0.0/8,10.0.0.0/8,100.64.0.0/10,169.254.0.0/16,172.16.0.0/12,192.0.0.0/24,192.0.2.0/24,192.88.99.0/24,"
    "192.168.0.0/16,198.18.0.0/15,198.51.100.0/24,203.0.113.0/24,224.0.0.0/4,233.252.0.0/24,240.0.0.0/4,"
    "255.255.255.255/32,::/128,::1/128,64:ff9b::/96,100::/64,2001::/32,2001:20::/28,2001:db8::/32,2002::/16,"
    "fc00::/7,fe80::/10,ff00::/8"
)

SETTINGS = {
    "DJANGO_SETTINGS_MODULE": "core.settings.label_studio",
    "APP_WEBSERVER": "uwsgi",  # It knows no gunicorn; the name only says that a real server runs it
    "DEBUG": "false",
    "LOG_LEVEL": "INFO",
    "LATEST_VERSION_CHECK": "false",
    "COLLECT_ANALYTICS": "false",
    "SENTRY_DSN": "",
    "FRONTEND_SENTRY_DSN": "",
    "FEATURE_FLAGS_OFFLINE": "true",
    "fflag_feat_utc_210_prediction_validation_15082025": "true",  # Refuse a prediction that its project cannot show
    "LABEL_STUDIO_DISABLE_SIGNUP_WITHOUT_LINK": "true",
    "LABEL_STUDIO_ENABLE_LEGACY_API_TOKEN": "true",
    "USE_DEFAULT_BANNED_SUBNETS": "false",
    "USER_ADDITIONAL_BANNED_SUBNETS": BANNED_SUBNETS,
    "WEBHOOK_TIMEOUT": "2",  # Seconds; an annotator waits for it
}


def url(port: int) -> str:
    """Return the address in the form that LABEL_STUDIO_URL takes."""
    return f"http://127.0.0.1:{port}"


def is_installed() -> bool:
    """Say whether the virtual environment exists."""
    return (VENV / "bin" / "label-studio").exists()


def version() -> str:
    """Return the installed version.

    Raises:
        EngineError: it is not installed.
    """
    found = importlib.metadata.distributions(name="label-studio", path=[os.fspath(_packages())])
    return next(iter(found)).version


def environment(data: Path, port: int, secrets: Mapping[str, str]) -> dict[str, str]:
    """Return the whole environment to run in.

    Args:
        data: its data folder.
        port: where it listens, on the loopback address only.
        secrets: holds LABEL_STUDIO_API_KEY, LABEL_STUDIO_ADMIN_PASSWORD and LABEL_STUDIO_BRIDGE_SECRET.
    """
    ours = {
        "PATH": os.defpath,
        "HOME": os.fspath(data),
        "LC_ALL": "C.UTF-8",
        "LABEL_STUDIO_BASE_DATA_DIR": os.fspath(data),
        "LABEL_STUDIO_HOST": url(port),
        "LABEL_STUDIO_USERNAME": ADMIN_EMAIL,
        "LABEL_STUDIO_PASSWORD": secrets["LABEL_STUDIO_ADMIN_PASSWORD"],
        "LABEL_STUDIO_USER_TOKEN": secrets["LABEL_STUDIO_API_KEY"],
        "LABEL_STUDIO_BRIDGE_SECRET": secrets["LABEL_STUDIO_BRIDGE_SECRET"],
    }
    carried = {name: os.environ[name] for name in ("CASELOOP_VAR", processes.MARK) if name in os.environ}
    return SETTINGS | ours | carried


def prepare(data: Path, variables: Mapping[str, str]) -> None:
    """Create or migrate its database and its admin, unless this version has done so.

    Raises:
        EngineError: Label Studio is not installed, or failed; what it said went to our standard error.
    """
    stamp = data / "caseloop-prepared"
    if stamp.exists() and stamp.read_text() == version():
        return
    data.mkdir(mode=0o700, parents=True, exist_ok=True)
    initialise = [os.fspath(VENV / "bin" / "label-studio"), "init", "--quiet", "--enable-legacy-api-token"]
    outside = {name: value for name, value in variables.items() if name != "DJANGO_SETTINGS_MODULE"}
    done = subprocess.run(initialise, env=outside, cwd=data, stdin=subprocess.DEVNULL, stdout=2, check=False)
    if done.returncode != 0:
        raise EngineError(f"label-studio init failed with {done.returncode}; the lines above say why")
    stamp.write_text(version())


def command(data: Path, port: int) -> list[str]:
    """Return the command line of the server; it needs `prepare` first."""
    return [
        *(os.fspath(VENV / "bin" / "python"), "-m", "gunicorn", "label_studio_ext.wsgi:application"),
        *("--pythonpath", f"{_packages() / 'label_studio'},{_extension_path(data)}"),
        *("--bind", f"127.0.0.1:{port}", "--workers", "1", "--threads", "8"),
        *("--timeout", "120", "--graceful-timeout", "10", "--no-control-socket"),
        *("--limit-request-line", "8190"),  # Its filters by case travel in the address
    ]


def is_ready(port: int) -> bool:
    """Say whether the server answers."""
    return ports.answers(port, "/health")


def _extension_path(data: Path) -> Path:
    # A folder with nothing but our extension: `webapp` itself would put our `tasks` before Label Studio's own.
    folder = data / "python-path"
    folder.mkdir(exist_ok=True)
    link = folder / EXTENSION.name
    link.unlink(missing_ok=True)
    link.symlink_to(EXTENSION)
    return folder


def _packages() -> Path:
    found = next(iter(VENV.glob("lib/python3.*/site-packages/label_studio")), None)
    if found is None:
        raise EngineError(
            f"expected Label Studio in {VENV}, found none: run `make run`, "
            "or set LABEL_STUDIO_URL and LABEL_STUDIO_API_KEY to a server of your own"
        )
    return found.parent
