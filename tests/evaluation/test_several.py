from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from asr.config import DecodingConfig
from asr.decoding.decoder import beam_settings
from asr.decoding.recogniser import Recogniser
from asr.errors import AsrError, ConfigError, OutputError
from asr.evaluation import Evaluation, evaluate
from asr.evaluation.decoders import describe, parse_decoder, parse_decoders
from asr.evaluation.several import evaluate_several, folder_names

if TYPE_CHECKING:
    from tests.conftest import Trained

TUNED = beam_settings(DecodingConfig(), beam=256, lm="lm.lm", lm_weight=0.7, word_bonus=1.5)


@pytest.mark.parametrize(
    ("spec", "own", "decoder"),
    [
        ("own", TUNED, "beam=256,lm=lm.lm,lm_weight=0.7,word_bonus=1.5"),
        ("own, beam = 8", TUNED, "beam=8,lm=lm.lm,lm_weight=0.7,word_bonus=1.5"),
        ("own", beam_settings(TUNED, window_seconds=9.0), "beam=256,lm=lm.lm,lm_weight=0.7,word_bonus=1.5"),
        ("own", DecodingConfig(), "greedy"),
        ("greedy", TUNED, "greedy"),
        ("beam", TUNED, "beam=64"),
        ("beam=16", TUNED, "beam=16"),
        ("lm=words.lm,beam=8,word_bonus=1", TUNED, "beam=8,lm=words.lm,lm_weight=0.5,word_bonus=1"),
        ("beam=8,lm=a,b.lm,lm-weight=0.9", TUNED, "beam=8,lm=a,b.lm,lm_weight=0.9"),
        ("beam=8,grammar=g.txt,grammar_of=words", TUNED, "beam=8,grammar=g.txt,grammar_of=words"),
    ],
)
def test_a_decoder_says_all_there_is_unless_it_starts_from_the_models_own(
    spec: str, own: DecodingConfig, decoder: str
) -> None:
    found = beam_settings(own, **parse_decoder(spec))
    assert describe(found) == decoder
    again = beam_settings(DecodingConfig(), **parse_decoder(decoder))  # what is printed can be given again
    assert describe(again) == decoder


@pytest.mark.parametrize(
    ("spec", "message"),
    [
        ("", "expected own, greedy or settings"),
        ("beem", "expected own, greedy or settings"),
        ("greedy,beam=8", "expected own, greedy or settings"),
        ("beem=8", "did you mean 'decoding.beam'"),
        ("beam=none", "decoding.beam = 'none'"),
        ("beam=8,lm_weight=0.5", "lm_weight means nothing without a language model"),
        ("beam=[8", "is not a value of beam"),
    ],
)
def test_a_decoder_that_means_nothing_is_an_error(spec: str, message: str) -> None:
    with pytest.raises(ConfigError, match=f"decoder '{spec.replace('[', '.')}': .*{message}"):
        parse_decoder(spec)


def test_folders_are_named_by_what_differs() -> None:
    assert folder_names([Path("data/an4/dev"), Path("data/an4/test")]) == ["dev", "test"]
    assert folder_names([Path("data/an4/test"), Path("data/digits/test")]) == ["an4-test", "digits-test"]
    decoders = folder_names(["greedy", "beam=64,lm=x/lm.lm", "beam=64,lm=y/lm.lm"])
    assert decoders[1:] == ["beam=64,lm=x-lm.lm", "beam=64,lm=y-lm.lm"]
    assert folder_names([Path("/"), Path("a b")]) == ["root", "a-b"]


def by_name(results: Any) -> dict[tuple[str, str, str], Evaluation | AsrError]:
    return {(row.manifest, row.model, row.decoder): result for row, result in results}


def test_every_manifest_meets_every_decoder(trained: Trained, tmp_path: Path) -> None:
    told: list[tuple[str, int, int]] = []
    found = by_name(
        evaluate_several(
            [trained.dev, trained.test],
            [trained.folder],
            parse_decoders(["own", "beam=8"]),
            output=tmp_path,
            device="cpu",
            progress=lambda *values: told.append(values),
        )
    )
    model = str(trained.folder)
    assert set(found) == {
        (str(manifest), model, decoder) for manifest in (trained.dev, trained.test) for decoder in ("greedy", "beam=8")
    }
    alone = evaluate(Recogniser.load(trained.folder, "cpu", {"beam": 8}), trained.test)
    result = found[str(trained.test), model, "beam=8"]
    assert isinstance(result, Evaluation)
    assert result.hypotheses == alone.hypotheses
    assert ("test/beam=8", 20, 20) in told
    saved = json.loads((tmp_path / "test" / "beam=8" / "score.json").read_text())
    assert (saved["decoder"], saved["wer"]) == ("beam=8", alone.wer)
    assert (tmp_path / "dev" / "own" / "report.html").exists()


def test_what_fails_does_not_lose_the_others_and_leaves_no_folder(trained: Trained, tmp_path: Path) -> None:
    found = by_name(
        evaluate_several(
            [tmp_path / "gone", trained.test],
            [tmp_path / "nothing", trained.folder],
            parse_decoders(["beam=8,lm=gone.lm", "greedy"]),
            output=tmp_path / "out",
            device="cpu",
        )
    )
    assert len(found) == 8
    good = {key for key, result in found.items() if isinstance(result, Evaluation)}
    assert good == {(str(trained.test), str(trained.folder), "greedy")}
    assert "nothing" in str(found[str(trained.test), str(tmp_path / "nothing"), "greedy"])
    assert "gone.lm" in str(found[str(trained.test), str(trained.folder), "beam=8,lm=gone.lm,lm_weight=0.5"])
    assert "no such manifest" in str(found[str(tmp_path / "gone"), str(trained.folder), "greedy"])
    assert [path.name for path in (tmp_path / "out").iterdir()] == [trained.test.name]


def test_the_same_twice_is_an_error(trained: Trained, tmp_path: Path) -> None:
    own: dict[str, dict[str, Any]] = {"own": {}}
    with pytest.raises(ConfigError, match=r"manifest .*cuts\.jsonl is given twice"):
        next(evaluate_several([trained.test, trained.test / "cuts.jsonl"], [trained.folder], own))
    with pytest.raises(ConfigError, match=r"model .* is given twice"):
        next(evaluate_several([trained.test], [trained.folder, trained.folder / ".." / trained.folder.name], own))
    with pytest.raises(ConfigError, match="decoder 'beam' is given twice, as beam=64"):
        parse_decoders(["beam=64", "beam"])
    with pytest.raises(ConfigError, match="decoder 'own, beam=8' is given twice"):
        parse_decoders(["own,beam=8", "own, beam=8"])
    (tmp_path / "out").write_text("a file")
    with pytest.raises(OutputError, match="out: cannot be written"):
        next(evaluate_several([trained.test], [trained.folder], own, output=tmp_path / "out"))
