"""Several manifests with several models and decoders: one evaluation each, none of which loses the others."""

from __future__ import annotations

import os
import re
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from functools import partial
from itertools import product
from pathlib import Path
from typing import Any

from asr.data.manifest import manifest_path
from asr.decoding.recogniser import Recogniser
from asr.errors import AsrError, ConfigError
from asr.evaluation.evaluate import Evaluation, check_writable, evaluate
from asr.evaluation.sharing import once, together
from asr.evaluation.table import Row


def evaluate_several(
    manifests: Sequence[Path],
    models: Sequence[Path],
    decoders: Mapping[str, Mapping[str, Any]],
    *,
    output: Path | None = None,
    device: str = "auto",
    threads: int | None = None,
    progress: Callable[[str, int, int], None] | None = None,
    **settings: Any,
) -> Iterator[tuple[Row, Evaluation | AsrError]]:
    """Evaluate every manifest with every model and decoder, each model loaded once for each decoder.

    What fails is yielded as its error, and the rest goes on.

    Args:
        manifests: folders or files.
        models: model folders.
        decoders: changes of the section `decoding` by a name, as `parse_decoders` gives them.
        output: where there are several, each evaluation goes into a folder of its own below it, such as
            `test/an4-0/greedy`: manifest, model, decoder, those left out of which there is one.
        device: as `asr.load_model` takes it.
        threads: utterances that beam search decodes at the same time.
        progress: called with (the evaluation's folder, utterances done, utterances in all).
        settings: further arguments of `evaluate`.

    Raises:
        ConfigError: a manifest or model is given twice.
        OutputError: the output folder cannot be written.
    """
    _refuse_repeated("manifest", [(path, _file(path)) for path in manifests])
    _refuse_repeated("model", [(path, path.resolve()) for path in models])
    if output is not None:
        once(lambda: check_writable(output))
    manifest_names, model_names, decoder_names = map(folder_names, (manifests, models, decoders))
    for (model, model_name), (decoder, decoder_name) in product(
        zip(models, model_names, strict=True), zip(decoders, decoder_names, strict=True)
    ):
        recogniser: Recogniser | AsrError
        try:
            recogniser = together(partial(Recogniser.load, model, device, decoders[decoder], threads))
        except AsrError as error:
            recogniser = error
        for manifest, manifest_name in zip(manifests, manifest_names, strict=True):
            names = ((manifests, manifest_name), (models, model_name), (decoders, decoder_name))
            folder = "/".join(name for axis, name in names if len(axis) > 1)
            result = _evaluation(recogniser, manifest, output / folder if output else None, folder, progress, settings)
            if isinstance(result, AsrError):
                yield Row(str(manifest), str(model), decoder, error=str(result)), result
            else:
                yield Row.of(result), result


def folder_names(values: Iterable[object]) -> list[str]:
    """Names of folders for paths or decoders: the last part of each, or as many of the last as make them differ."""
    parts = [[part for part in os.path.abspath(str(value)).split("/") if part] or ["root"] for value in values]
    clean = [[re.sub(r"[^\w.,=+-]+", "-", part) for part in path] for path in parts]
    for length in range(1, max(map(len, clean)) + 1):
        names = ["-".join(path[-length:]) for path in clean]
        if len(set(names)) == len(names):
            return names
    return [f"{number}-{path[-1]}" for number, path in enumerate(clean, 1)]


def _evaluation(
    recogniser: Recogniser | AsrError,
    manifest: Path,
    output: Path | None,
    name: str,
    progress: Callable[[str, int, int], None] | None,
    settings: Mapping[str, Any],
) -> Evaluation | AsrError:
    if isinstance(recogniser, AsrError):
        return recogniser
    tell = (lambda done, total: progress(name, done, total)) if progress else None
    try:
        return evaluate(recogniser, manifest, output=output, progress=tell, **settings)
    except AsrError as error:
        return error


def _refuse_repeated(what: str, values: Sequence[tuple[object, object]]) -> None:
    first: dict[object, object] = {}
    for value, meaning in values:
        if meaning in first:
            raise ConfigError(f"{what} {value} is given twice, first as {first[meaning]}; leave one out")
        first[meaning] = value


def _file(manifest: Path) -> Path:
    """The file behind a manifest; the path itself where there is none, which is reported when it comes to it."""
    try:
        return manifest_path(manifest).resolve()
    except AsrError:
        return manifest.resolve()
