"""May a training start in this folder, and does what is there belong to it?"""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import Any

from asr.config import Config, load_config
from asr.errors import TrainingError
from asr.model.folders import CARD, CONFIG, TOKENS, WEIGHTS
from asr.text import COMPANIONS
from asr.training.checkpoints import Checkpoints
from asr.training.log import LOG

FREE_TO_CHANGE = ("data.workers", "training.checkpoint_", "training.keep_", "training.log_steps", "decoding.")
"""Keys, or how they begin, that do not change what is learnt."""


def check_resumable(output: Path, config: Config, *, resume: bool, overwrite: bool) -> bool:
    """Whether to continue from the newest checkpoint (true) or to start from the beginning. Changes nothing.

    Raises:
        TrainingError: a training is there and neither `resume` nor `overwrite` is set, or its configuration differs;
            or files that no training wrote are in the way, whether or not `overwrite` is set.
    """
    _check_own(output)
    if overwrite:
        return False
    if not Checkpoints(output, config.training.keep_last, config.training.keep_best).any():
        if (output / WEIGHTS).exists():
            raise TrainingError(
                f"{output}: holds a model, but no checkpoint to continue from; "
                "choose another --output, or --overwrite it"
            )
        return False
    if not resume:
        raise TrainingError(
            f"{output}: holds a training already; --resume continues it, --overwrite starts it again from the beginning"
        )
    before, now = _flat(load_config(output / CONFIG).model_dump()), _flat(config.model_dump())
    differing = [key for key in {**before, **now} if before.get(key, "off") != now.get(key, "off")]
    changed = [key for key in differing if not key.startswith(FREE_TO_CHANGE)]
    if changed:
        listed = "; ".join(f"{key} was {before.get(key, 'off')!r}, now {now.get(key, 'off')!r}" for key in changed)
        further = ""
        if "training.epochs" in changed and before["training.epochs"] < now["training.epochs"]:
            further = (
                f"; or train on from its weights: --init {output} --output NEW" if (output / WEIGHTS).exists() else ""
            )
        raise TrainingError(
            f"{output}: cannot be continued with another configuration ({listed}); "
            f"choose another --output, or --overwrite it{further}"
        )
    return True


def _check_own(output: Path) -> None:
    """`TrainingError` where someone else's files have the names of ours.

    A training writes its tokens first and its log last, and leaves README.md or config.yaml nowhere without them.
    """
    if any((output / name).exists() for name in (TOKENS, LOG, WEIGHTS)) or Checkpoints(output, 1, 1).any():
        return
    foreign = [name for name in (CARD, CONFIG) if (output / name).exists()]
    if foreign:
        raise TrainingError(
            f"{output}: holds no training, but {' and '.join(foreign)}, which a training would replace; "
            "choose another --output"
        )


def clear(output: Path, config: Config) -> None:
    """Forget an earlier training: once all that a new one needs was found to be there."""
    Checkpoints(output, config.training.keep_last, config.training.keep_best).clear()
    for name in (WEIGHTS, CARD, CONFIG, TOKENS, *COMPANIONS.values(), LOG):
        (output / name).unlink(missing_ok=True)
    shutil.rmtree(output / "tensorboard", ignore_errors=True)


def _flat(tree: dict[str, Any], prefix: str = "") -> dict[str, Any]:
    flat: dict[str, Any] = {}
    for key, value in tree.items():
        flat |= _flat(value, f"{prefix}{key}.") if isinstance(value, dict) else {prefix + key: value}
    return flat
