"""Files that are whole or absent: written under a temporary name, then renamed."""

from __future__ import annotations

import errno
import os
from collections.abc import Iterable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import TYPE_CHECKING

from asr.errors import ConfigError, OutputError

if TYPE_CHECKING:
    from matplotlib.figure import Figure


@contextmanager
def replacing(path: Path) -> Iterator[Path]:
    """A temporary path beside `path`. It takes the place of `path` when the block ends well, and is gone when not.

    Raises:
        IsADirectoryError: `path` is a folder.
        OSError: the rename failed; whatever the block raises passes through.
    """
    if path.is_dir():  # `.` has no name to make a temporary one of
        raise IsADirectoryError(errno.EISDIR, "it is a folder; name a file", str(path))
    partial = path.with_name(f".{path.name[:60]}.{os.getpid()}.part")  # a name has at most 255 bytes
    try:
        yield partial
        os.replace(partial, path)
    finally:
        with suppress(OSError):
            partial.unlink(missing_ok=True)


@contextmanager
def writing(path: Path) -> Iterator[Path]:
    """`replacing` for a file that the user asked for: its folder is made, and what goes wrong is told as they need it.

    Raises:
        OutputError: it cannot be written, wherever in the block that shows.
    """
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        with replacing(path) as partial:
            yield partial
    except IsADirectoryError:
        raise OutputError(f"{path}: is a folder; name a file") from None
    except OSError as error:
        raise OutputError(
            f"{path}: cannot be written ({error.strerror or error}); make room, or choose another place"
        ) from None


def shown(path: str | Path) -> str:
    """A path for people and JSON: bytes that are not UTF-8 become replacement characters."""
    return os.fsencode(path).decode("utf-8", errors="replace")


def write_text(path: Path, text: str) -> None:
    """Write a small text file, whole or not at all; its folder is made.

    Raises:
        OutputError: it cannot be written.
    """
    with writing(path) as partial:
        partial.write_text(text, encoding="utf-8")


def save_png(figure: Figure, path: Path) -> None:
    """Write a picture of matplotlib, as `write_text` writes a text.

    Raises:
        OutputError: it cannot be written.
    """
    from matplotlib.backends.backend_agg import FigureCanvasAgg  # it takes its time

    with writing(path) as partial:
        FigureCanvasAgg(figure).print_png(partial)


def check_not_read(target: Path | None, sources: Iterable[Path | None], option: str = "--output") -> None:
    """See that a file to be written, which `option` has named, is none of those that are read; None is no file.

    Raises:
        ConfigError: it is one of them, under this name or another.
    """
    if target is None or not target.exists():
        return
    if any(source is not None and source.exists() and source.samefile(target) for source in sources):
        raise ConfigError(f"{target} is read, and would be lost; choose another {option}")
