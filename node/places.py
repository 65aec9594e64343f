"""Where things lie: the data directory of a node, and the operator's Unix socket.

The socket is `DATA/control.sock`, or elsewhere where that cannot be. A Unix socket's path has at most 107
bytes, and some file systems (FAT on a stick, some network shares) have no sockets at all. Then it lies in
the user's runtime directory under a name made from the data directory's path, and the file `DATA/control`
says where.

Every command needs this and nothing more of the node to speak to it, so it loads next to nothing.
"""

import hashlib
import os
import tempfile
from collections.abc import Mapping
from pathlib import Path
from shlex import quote

DATA_VARIABLE = "HEDGEROW_DATA"
SOCKET_FILE = "control.sock"
POINTER_FILE = "control"
SOCKET_PATH_BYTES_MAX = 107
"""`sun_path` of Linux has 108 bytes, the last of them zero."""


def data_directory(chosen: str | None, environment: Mapping[str, str] | None = None) -> Path:
    """Where a node's data lies: the option, else `HEDGEROW_DATA`, else the user's data directory."""
    found = chosen or (os.environ if environment is None else environment).get(DATA_VARIABLE)
    if found:
        return Path(found).expanduser().absolute()
    import platformdirs

    return Path(platformdirs.user_data_dir("hedgerow"))


def run_command(data: Path) -> str:
    """What to type to run the node of a data directory: naming it, where another would be taken without."""
    return "hedgerow run" if data == data_directory(None) else f"hedgerow run --data {quote(str(data))}"


def init_command(data: Path) -> str:
    """What to type to make a data directory there."""
    return "hedgerow init" if data == data_directory(None) else f"hedgerow init --data {quote(str(data))}"


def preferred_socket(data: Path) -> Path | None:
    """The socket inside the data directory, or None where its path is too long for a socket."""
    path = data / SOCKET_FILE
    return path if len(os.fsencode(path)) <= SOCKET_PATH_BYTES_MAX else None


def fallback_socket(data: Path) -> Path:
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


def find_socket(data: Path) -> Path:
    """Where a command has to call the node of this data directory."""
    try:
        return Path((data / POINTER_FILE).read_text("utf-8").strip())
    except (OSError, UnicodeDecodeError):
        return data / SOCKET_FILE
