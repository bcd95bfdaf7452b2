"""`asr lm tune`: how much a language model should say, found on a dev set."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from asr.cli.common import (
    FAILED,
    Device,
    Json,
    LexiconFile,
    Threads,
    error_console,
    print_json,
    set_threads,
    tell_failures,
)
from asr.errors import AsrError
from asr.model.folders import find_model, own_model


def command(
    dev: Annotated[Path, typer.Argument(help="Manifest of the dev set; never the test set.")],
    model: Annotated[Path, typer.Option(help="Model folder, which then decodes with what is found.")],
    lm: Annotated[Path, typer.Option(help="N-gram language model: .lm, .lmz, .arpa or .arpa.gz.")],
    beam: Annotated[
        int | None, typer.Option(min=1, help="Prefixes that beam search keeps; found too when not given.")
    ] = None,
    closed: Annotated[bool, typer.Option("--closed", help="Only words of the language model may come out.")] = False,
    lexicon: LexiconFile = None,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Only print; leave the model folder as it is.")] = False,
    device: Device = "auto",
    threads: Threads = None,
    json: Json = False,
) -> None:
    """Find language model weight, word bonus and prior weight on DEV, and write them and the model into the folder.

    Log-probs are computed once.  When no setting beats greedy decoding and how the folder decodes now, nothing is
    written and the exit status is 1.  It is 1 too when some recordings could not be read: all is done without them.
    """
    folder = find_model(model) if dry_run else own_model(model)
    set_threads(threads)
    from asr.decoding.confidence import CONFIDENCE
    from asr.decoding.lexicon import Lexicon
    from asr.decoding.recogniser import Recogniser
    from asr.evaluation.decoders import describe
    from asr.evaluation.tuning import present_decoder, tune, write_tuned
    from asr.lm.ngram import NgramModel

    language_model = NgramModel.load(lm)
    plain = {"method": "greedy", **dict.fromkeys(("lm", "hotwords", "grammar", "lexicon", "rescore"))}
    recogniser = Recogniser.load(folder, device, plain)
    spellings = Lexicon.load(lexicon, recogniser.tokenizer) if lexicon is not None else None
    console = error_console()
    present = None
    try:
        present = present_decoder(recogniser, threads)
    except AsrError as error:  # a folder that cannot decode is one to be mended, by this command too
        typer.secho(f"{model} cannot decode as it is configured, which is not measured: {error}", fg="yellow", err=True)
    found = tune(
        recogniser,
        dev,
        language_model,
        beam=beam,
        closed=closed,
        lexicon=spellings,
        threads=threads,
        present=present,
        progress=lambda trial: console.print(
            f"weight {trial.lm_weight:<7g} bonus {trial.word_bonus:<7g} prior {trial.prior_weight:<6g} "
            f"beam {trial.beam:<5}"
            f"WER {trial.wer:7.2%} CER {trial.cer:7.2%}"
        ),
    )
    written = found.worthwhile and not dry_run
    stale = written and (folder / CONFIDENCE).is_file()
    if written:
        write_tuned(folder, recogniser, language_model, found, closed, lexicon)
    best = found.best
    if json:
        print_json(
            {
                "lm_weight": best.lm_weight,
                "word_bonus": best.word_bonus,
                "prior_weight": best.prior_weight,
                "beam": best.beam,
                "dev_wer": best.wer,
                "dev_cer": best.cer,
                "greedy_dev_wer": found.greedy[0],
                "beam_dev_wer": found.beam_alone[0],
                "present_dev_wer": found.present and found.present[0],
                "trials": len(found.trials),
                "failed_utterances": len(found.failures),
                "written": written,
            }
        )
    else:
        typer.echo(f"greedy             dev WER {found.greedy[0]:7.2%}  CER {found.greedy[1]:7.2%}")
        typer.echo(f"beam {best.beam:<5}         dev WER {found.beam_alone[0]:7.2%}  CER {found.beam_alone[1]:7.2%}")
        if found.present:
            wer, cer = found.present
            decoder = describe(recogniser.config.decoding)
            typer.echo(f"as it is now       dev WER {wer:7.2%}  CER {cer:7.2%}  {decoder}")
        typer.echo(
            f"beam {best.beam:<5} and lm  dev WER {best.wer:7.2%}  CER {best.cer:7.2%}  "
            f"lm_weight {best.lm_weight:g}, word_bonus {best.word_bonus:g}, "
            f"prior_weight {best.prior_weight:g}, of {len(found.trials)} tried"
        )
    if stale:
        typer.secho(
            f"{folder / CONFIDENCE} is gone, as it was fitted to the decoding before; "
            f"`asr calibrate {dev} --model {model}` fits it again",
            fg="yellow",
            err=True,
        )
    failed = tell_failures(dev, found.failures, "were not tried")
    if not found.worthwhile:
        beaten = "greedy decoding" + (" and how it decodes now" if found.present else "")
        typer.secho(f"no setting beats {beaten}, so {model} stays as it is", fg="yellow", err=True)
    if failed or not found.worthwhile:
        raise typer.Exit(FAILED)
