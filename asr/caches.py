"""Where numba keeps what it compiled when neither the package nor the user's home can be written. Quick to import."""

from __future__ import annotations

import os

PACKAGE = os.path.dirname(os.path.abspath(__file__))


def find_numba_cache() -> None:
    """Name a folder for temporary files as numba's cache where it would find none, as in a read-only container.

    Numba writes beside the modules, else below the user's home, and else refuses to import them. `NUMBA_CACHE_DIR`
    holds where it is set. A folder of another user is never taken: numba reads what is there as code.
    """
    if os.environ.get("NUMBA_CACHE_DIR"):
        return
    home_cache = os.environ.get("XDG_CACHE_HOME") or os.path.join(os.path.expanduser("~"), ".cache")
    if _writable(PACKAGE) or _writable(home_cache):
        return
    import tempfile

    try:
        user = os.getuid() if hasattr(os, "getuid") else os.environ.get("USERNAME", "user")
        folder = os.path.join(tempfile.gettempdir(), f"asr-numba-{user}")
        os.makedirs(folder, mode=0o700, exist_ok=True)
        if not _private(folder):
            folder = tempfile.mkdtemp(prefix="asr-numba-")
    except OSError:  # no place at all: numba says so itself
        return
    os.environ["NUMBA_CACHE_DIR"] = folder


def _writable(folder: str) -> bool:
    """Whether a folder can be written, or made where it is not there."""
    folder = os.path.abspath(folder)
    while not os.path.lexists(folder) and folder != os.path.dirname(folder):
        folder = os.path.dirname(folder)
    return os.path.isdir(folder) and os.access(folder, os.W_OK | os.X_OK)


def _private(folder: str) -> bool:
    """Whether a folder is the user's own and nobody else can write there."""
    if not hasattr(os, "getuid"):
        return True
    status = os.lstat(folder)
    return (
        os.path.isdir(folder)
        and not os.path.islink(folder)
        and status.st_uid == os.getuid()
        and not (status.st_mode & 0o022)
    )
