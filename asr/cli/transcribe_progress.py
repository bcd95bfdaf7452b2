"""What `asr transcribe` says while it works, on standard error: how far it is, what failed, and a summary."""

from __future__ import annotations

import re
import sys
import time
from collections import defaultdict
from contextlib import AbstractContextManager, nullcontext
from types import TracebackType
from typing import TYPE_CHECKING, Self

import typer

from asr.cli.common import error_console
from asr.errors import OutputError

if TYPE_CHECKING:
    from rich.console import Console
    from rich.table import Table
    from rich.text import Text

LINE_SECONDS = 30.0
"""Between two lines where there is no terminal to draw a bar on."""
NAMES_SHOWN = 3
"""Recordings named for each kind of failure in the summary; each has been told in full when it happened."""


class Progress:
    """Counts recordings and seconds of audio, and shows them: a bar on a terminal, else a line now and then.

    Args:
        total: recordings there are.
    """

    def __init__(self, total: int):
        self.total = total
        self.transcribed = self.skipped = self.failed = 0
        self.seconds = 0.0
        """Of audio in transcripts."""
        self.failures: dict[str, list[str]] = defaultdict(list)
        self._heard = 0.0
        self._known_seconds, self._known = 0.0, 0
        self._started = self._told = time.monotonic()
        self._working = False
        self._console: Console | None = None
        self._live: AbstractContextManager[object] = nullcontext()
        if sys.stderr.isatty():
            # Where results come to the same terminal, one console must write both, or they run into each other.
            from rich.console import Console

            self._console = Console() if sys.stdout.isatty() else error_console()

    @property
    def done(self) -> int:
        """Recordings that need no more work, whatever came of them."""
        return self.transcribed + self.skipped + self.failed

    def __enter__(self) -> Self:
        if self._console is not None:
            from rich.live import Live

            self._live = Live(
                get_renderable=self._bar,
                console=self._console,
                transient=True,
                refresh_per_second=2,
                redirect_stdout=False,
                redirect_stderr=False,
            )
        self._live.__enter__()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, raised: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._live.__exit__(kind, raised, trace)

    def start(self, *, legend: bool) -> None:
        """The model is loaded: time counts from here. A legend says what coloured words mean."""
        self._started = self._told = time.monotonic()
        self._working = True
        if legend and self._console is not None:
            from asr.transcription.colours import legend as colours

            self._console.print(colours())

    def expect(self, seconds: float) -> None:
        """The length of a recording has become known; a negative one takes it back."""
        self._known_seconds += seconds
        self._known += 1 if seconds >= 0 else -1

    def heard(self, seconds: float) -> None:
        """So much more audio has been decoded."""
        self._heard += seconds
        self._tell()

    def finish(self, seconds: float) -> None:
        """A recording of so many seconds has its transcript."""
        self.transcribed += 1
        self.seconds += seconds
        self._tell()

    def skip(self) -> None:
        """A recording has its outputs already."""
        self.skipped += 1

    def fail(self, name: str, message: str, reason: str) -> None:
        """Tell what is wrong now, in a message; keep the name for the summary, under the kind that the reason is of."""
        kind = re.sub(r"\d[\d.]*", "N", re.split(r"[:;(,]", reason)[0]).strip()
        self.failures[kind].append(name)
        self.failed += 1
        self.error(message)

    def error(self, message: str) -> None:
        """One line in red on standard error, above the bar."""
        self._print(f"error: {printable(message)}", "red")

    def note(self, message: str) -> None:
        """One line on standard error, above the bar."""
        self._print(printable(message), "")

    def result(self, text: str | Text) -> None:
        """A result for standard output.

        Raises:
            OutputError: it cannot be written.
        """
        try:
            if self._console is not None and sys.stdout.isatty():
                self._console.print(text, end="", soft_wrap=True, markup=False, highlight=False)
            elif isinstance(text, str):
                sys.stdout.write(text)
            else:
                from rich.console import Console

                Console(force_terminal=True, color_system="256").print(text, end="", soft_wrap=True)
            sys.stdout.flush()
        except BrokenPipeError:  # `| head` has seen enough
            raise
        except OSError as error:
            raise OutputError(f"standard output cannot be written ({error.strerror or error}); make room") from None
        except UnicodeEncodeError as error:
            raise OutputError(
                f"standard output is {error.encoding} and has no {error.object[error.start]!a}; set PYTHONUTF8=1, or "
                "write files with --output-dir"
            ) from None

    def summary(self) -> None:
        """How many, how much audio, how fast; what was skipped; each kind of failure with the first few names."""
        recordings = "recording" if self.transcribed == 1 else "recordings"
        line = f"transcribed {self.transcribed:,} {recordings}"
        if self.transcribed:
            elapsed = time.monotonic() - self._started
            speed = _times(self.seconds / elapsed)
            line += f", {length(self.seconds)} of audio in {length(elapsed)}, {speed} times real time"
        if self.skipped:
            line += f"; skipped {self.skipped:,} whose outputs are there (--overwrite writes them again)"
        if self.failed:
            line += f"; {self.failed:,} failed:"
        typer.echo(line, err=True)
        for kind, names in sorted(self.failures.items(), key=lambda item: -len(item[1])):
            more = f" and {len(names) - NAMES_SHOWN:,} more" if len(names) > NAMES_SHOWN else ""
            typer.echo(f"  {len(names):,} {kind}: {', '.join(map(printable, names[:NAMES_SHOWN]))}{more}", err=True)

    def _print(self, message: str, colour: str) -> None:
        if self._console is not None:
            from rich.text import Text

            self._console.print(Text(message, colour), soft_wrap=True)  # a style of print would colour the bar too
        else:
            typer.secho(message, fg=colour or None, err=True)

    def _tell(self) -> None:
        if self._console is None and time.monotonic() - self._told >= LINE_SECONDS:
            self._told = time.monotonic()
            typer.echo(", ".join(self._figures()), err=True)

    def _figures(self) -> list[str]:
        if not self._working:
            return ["loading the model"]
        elapsed = time.monotonic() - self._started
        heard = max(self._heard, self.seconds)
        figures = [f"{self.done:,} of {self.total:,} recordings", f"{length(heard)} of audio"]
        if heard:
            figures.append(f"{_times(heard / elapsed)}x real time")
            if (expected := self._expected()) is not None:
                figures.append(f"{length(max(0.0, expected - heard) * elapsed / heard)} left")
        if self.failed:
            figures.append(f"{self.failed:,} failed")
        return figures

    def _expected(self) -> float | None:
        """Seconds of audio in all: recordings of unknown length are taken to be as long as the known ones."""
        if not self._known:
            return None
        unknown = max(0, self.total - self.skipped - self.failed - self._known)
        return self._known_seconds * (1 + unknown / self._known)

    def _bar(self) -> Table:
        from rich.progress_bar import ProgressBar
        from rich.table import Table

        expected = self._expected()
        grid = Table.grid(padding=(0, 1), expand=True)
        grid.add_column(ratio=1, min_width=4)
        grid.add_column(no_wrap=True, overflow="ellipsis")
        bar = ProgressBar(total=expected or 1.0, completed=self._heard if expected else 0.0, pulse=not expected)
        grid.add_row(bar, ", ".join(self._figures()))
        return grid


def length(seconds: float) -> str:
    """A length of time for people, such as `41 s`, `12 min`, `3.4 h`."""
    if seconds < 10:
        return f"{seconds:.1f} s"
    if seconds < 100:
        return f"{seconds:.0f} s"
    return f"{seconds / 60:.0f} min" if seconds < 5400 else f"{seconds / 3600:.1f} h"


def _times(factor: float) -> str:
    return f"{factor:,.0f}" if factor >= 10 else f"{factor:.1f}"


def printable(text: str) -> str:
    """Names can hold line ends and codes that recolour a terminal: these are shown escaped."""
    text = text.encode("utf-8", "surrogateescape").decode("utf-8", "replace")
    return "".join(c if c.isprintable() else c.encode("unicode_escape").decode() for c in text)
