"""What the sub-commands share: options, exit status, consoles."""

from __future__ import annotations

import gc
import json
import sys
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, NoReturn

import typer

from asr.allocation import bound_kernel_cache
from asr.errors import AsrError, ConfigError, Interrupted

if TYPE_CHECKING:
    from rich.console import Console

FAILED, USAGE, INTERRUPTED = 1, 2, 130

Device = Annotated[str, typer.Option("--device", help="auto (the GPU when there is one), cpu, cuda or cuda:N.")]
Model = Annotated[
    Path, typer.Option("--model", "-m", help="Model folder, or the name of one that comes with asr: `asr models`.")
]
Threads = Annotated[int | None, typer.Option("--threads", min=1, help="CPU threads; as many as cores by default.")]
DecodingThreads = Annotated[
    int | None,
    typer.Option(
        "--threads",
        min=1,
        help="CPU threads. By default one for the network (more wait for each other), all for beam search.",
    ),
]
Beam = Annotated[int | None, typer.Option("--beam", min=1, help="Beam search that keeps so many prefixes.")]
Lm = Annotated[
    Path | None, typer.Option("--lm", help="N-gram language model for beam search: .lm, .lmz, .arpa or .arpa.gz.")
]
LmWeight = Annotated[float | None, typer.Option("--lm-weight", min=0, help="Factor of its log-probability.")]
WordBonus = Annotated[float | None, typer.Option("--word-bonus", help="Added for each word, natural log.")]
Hotwords = Annotated[
    Path | None, typer.Option("--hotwords", help="File of phrases to favour: `phrase` or `phrase<TAB>weight` a line.")
]
Grammar = Annotated[
    Path | None, typer.Option("--grammar", help="File of the only sentences that may come out, one a line.")
]
LexiconFile = Annotated[
    Path | None, typer.Option("--lexicon", help="File of the only words that may come out, one a line.")
]
Rescore = Annotated[
    Path | None, typer.Option("--rescore", help="Folder of an LSTM language model that reorders the 50 best texts.")
]
Json = Annotated[bool, typer.Option("--json", help="Print one JSON object to standard output instead of text.")]


def run(app: typer.Typer) -> NoReturn:
    """Run a command line and exit: 0 done, 1 something failed, 2 wrong usage, 130 interrupted."""
    try:
        app()
    except AsrError as error:
        typer.secho(f"error: {error}", fg="red", err=True)
        status = {ConfigError: USAGE, Interrupted: INTERRUPTED}
        sys.exit(status.get(type(error), FAILED))
    except KeyboardInterrupt:
        typer.secho("interrupted", fg="red", err=True)
        sys.exit(INTERRUPTED)
    finally:
        gc.freeze()  # or the interpreter looks through all of torch once more before it ends: half a second
    sys.exit(0)


@contextmanager
def quick_imports() -> Iterator[None]:
    """Look for no garbage: importing torch makes a million objects that stay, and each look goes through them all.

    And import no SciPy for numba, which would have it lend a BLAS that none of our kernels calls: a tenth of a start.
    """
    gc.disable()
    missing = "scipy.linalg.cython_blas" not in sys.modules
    if missing:
        sys.modules["scipy.linalg.cython_blas"] = None  # type: ignore[assignment]  # importing it is an ImportError
    try:
        yield
    finally:
        if missing:
            del sys.modules["scipy.linalg.cython_blas"]
        gc.freeze()
        gc.enable()


def run_script(main: Callable[..., None]) -> NoReturn:
    """Run one function as a command line, as the scripts in recipes/ do."""
    bound_kernel_cache()
    app = typer.Typer(pretty_exceptions_enable=False, add_completion=False)
    app.command()(main)
    run(app)


def set_threads(threads: int | None) -> None:
    """Limit torch to so many CPU threads."""
    if threads is not None:
        import torch

        torch.set_num_threads(threads)


def error_console() -> Console:
    """Messages and progress go to standard error, so that results can be piped."""
    from rich.console import Console

    return Console(stderr=True)


def tell_failures(manifest: str | Path, failures: Sequence[tuple[str, str]], outcome: str) -> bool:
    """Print the (id, reason) of utterances that could not be read, and what became of them; whether there are any."""
    for identifier, reason in failures:
        typer.secho(f"error: {identifier}: {reason}", fg="red", err=True)
    if failures:
        typer.secho(f"{manifest}: {len(failures)} utterances could not be read and {outcome}", fg="red", err=True)
    return bool(failures)


def print_json(value: dict[str, Any]) -> None:
    """One JSON object on one line."""
    sys.stdout.write(json.dumps(value, ensure_ascii=False) + "\n")


def parse_options(pairs: list[str]) -> dict[str, Any]:
    """`key=value` pairs to a dictionary, values as YAML reads them; `ConfigError` for anything else."""
    import yaml

    options: dict[str, Any] = {}
    for pair in pairs:
        key, equals, value = pair.partition("=")
        if not equals or not key:
            raise ConfigError(f"{pair}: expected key=value")
        try:
            options[key.strip().replace("-", "_")] = yaml.safe_load(value)
        except yaml.YAMLError:
            raise ConfigError(f"{pair}: {value!r} is not a YAML value") from None
    return options


def decoding_options(**options: Any) -> dict[str, Any]:
    """The options of beam search that were given, as settings of the section `decoding`; paths from where we stand."""
    return {key: str(v.absolute()) if isinstance(v, Path) else v for key, v in options.items() if v is not None}
