"""Where the operator's Unix socket lies: `DATA/control.sock`, or elsewhere where that cannot be.

A Unix socket's path has at most 107 bytes, and some file systems (FAT on a stick, some network shares)
have no sockets at all. Then the socket lies in the user's runtime directory under a name made from the
data directory's path, and the file `DATA/control` says where. Kept apart from `control.py` so that a
command need not load a web server to find it.
"""

import hashlib
import os
import tempfile
from pathlib import Path

SOCKET_FILE = "control.sock"
POINTER_FILE = "control"
SOCKET_PATH_BYTES_MAX = 107
"""`sun_path` of Linux has 108 bytes, the last of them zero."""


def preferred(data: Path) -> Path | None:
    """The socket inside the data directory, or None where its path is too long for a socket."""
    path = data / SOCKET_FILE
    return path if len(os.fsencode(path)) <= SOCKET_PATH_BYTES_MAX else None


def fallback(data: Path) -> Path:
    """The socket in the runtime directory, which is made for this user alone if it is not there."""
    runtime = os.environ.get("XDG_RUNTIME_DIR")
    folder = (
        Path(runtime) / "hedgerow" if runtime else Path(tempfile.gettempdir()) / f"hedgerow-{os.getuid()}"
    )
    folder.mkdir(mode=0o700, parents=True, exist_ok=True)
    state = folder.lstat()
    if state.st_uid != os.getuid() or state.st_mode & 0o077:
        raise PermissionError(13, "must belong to this user alone", str(folder))
    name = hashlib.blake2b(os.fsencode(data.resolve()), digest_size=8).hexdigest()
    return folder / f"{name}.sock"


def find(data: Path) -> Path:
    """Where a command has to call the node of this data directory."""
    try:
        return Path((data / POINTER_FILE).read_text("utf-8").strip())
    except (OSError, UnicodeDecodeError):
        return data / SOCKET_FILE
