"""Where everything of one Caseloop lies: in one folder, `var` unless CASELOOP_VAR names another."""

import hashlib
import os
import tempfile
from dataclasses import dataclass
from pathlib import Path

from webapp.engines import EngineError

REPOSITORY = Path(__file__).resolve().parents[2]

SOCKET_PATH_BYTES = 103  # What macOS allows; Linux allows 107
LONGEST_SOCKET_NAME = "/supervisor.sock.4194304"  # supervisord adds its process id while it starts


@dataclass(frozen=True, slots=True)
class Folders:
    """Name the folders and files below one `var` folder, which must be absolute."""

    var: Path

    @property
    def env(self) -> Path:
        return self.var / "env"

    @property
    def ports(self) -> Path:
        return self.var / "ports.json"

    @property
    def log(self) -> Path:
        return self.var / "log"

    @property
    def run(self) -> Path:
        return self.var / "run"

    @property
    def metrics(self) -> Path:
        """What the web processes have counted since the start."""
        return self.run / "metrics"

    @property
    def postgres(self) -> Path:
        return self.var / "postgres"

    @property
    def valkey(self) -> Path:
        return self.var / "valkey"

    @property
    def label_studio(self) -> Path:
        return self.var / "label-studio"

    @property
    def sockets(self) -> Path:
        """The folder of the Unix sockets: `run`, or a short one elsewhere when that path is too long for a socket."""
        if len(os.fsencode(self.run)) + len(LONGEST_SOCKET_NAME) <= SOCKET_PATH_BYTES:
            return self.run
        digest = hashlib.sha256(os.fsencode(self.var)).hexdigest()[:12]
        return Path(tempfile.gettempdir()) / f"caseloop-{digest}"

    @property
    def postgres_socket(self) -> Path:
        """A folder, in which PostgreSQL names the socket itself."""
        return self.sockets / "postgres"

    @property
    def valkey_socket(self) -> Path:
        return self.sockets / "valkey.sock"

    @property
    def supervisor_socket(self) -> Path:
        return self.sockets / "supervisor.sock"

    def create(self) -> None:
        """Create the folders that every engine shares, closed to other people.

        Raises:
            EngineError: one of them is another account's.
        """
        for folder in (self.var, self.run, self.sockets, self.log):
            _create_private(folder)


def from_environment() -> Folders:
    """Name the folders of the Caseloop that CASELOOP_VAR chooses."""
    return Folders(Path(os.environ.get("CASELOOP_VAR", REPOSITORY / "var")).resolve())


def _create_private(folder: Path) -> None:
    # As root, PostgreSQL runs as another account: that one may pass through, though not look around.
    mode = 0o711 if os.geteuid() == 0 else 0o700
    folder.mkdir(mode=mode, parents=True, exist_ok=True)
    owner = folder.lstat().st_uid  # Not through a link: in the temporary folder anybody could have left one
    if folder.is_symlink() or owner != os.geteuid():
        raise EngineError(
            f"{folder} belongs to user id {owner}, but this is user id {os.geteuid()}: "
            "run as the account that made it, give it away with chown, or choose another folder with CASELOOP_VAR"
        )
    folder.chmod(mode)
