"""Models of BPE pieces and of phones: trained, evaluated, transcribing and aligning through the command line."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from asr.config import Config, DecodingConfig, load_config, save_config
from asr.data.manifest import read_manifest
from asr.decoding.recogniser import Recogniser
from asr.errors import CheckpointError
from asr.evaluation import evaluate
from asr.model.checkpoint import load_folder
from asr.text import BpeTokenizer, PhoneTokenizer
from asr.training import train
from tests.conftest import Ran, Speech, Trained, recording_console

AsrCommand = Callable[..., Ran]
SmallConfig = Callable[..., Config]


def lexicon(path: Path, words: tuple[str, ...]) -> Path:
    """Each letter of the made speech is a phone; `dab` can also be said `gad`, and `bab` sounds like `bad`."""
    lines = [f"{word} {' '.join(word.upper())}\n" for word in words]
    path.write_text("".join(lines) + "dab(2) G A D\nbab B A D\n", encoding="utf-8")
    return path


@pytest.fixture(scope="module")
def phones(
    trained: Trained, speech: Speech, small_config: SmallConfig, tmp_path_factory: pytest.TempPathFactory
) -> tuple[Path, str]:
    """The folder of a model of phones and what its training printed; `head` has no pronunciation."""
    root = tmp_path_factory.mktemp("phones")
    path = lexicon(root / "words.dict", tuple(word for word in speech.words if word != "head"))
    console, printed = recording_console()
    config = small_config(
        data={"train": str(trained.train), "dev": str(trained.dev)},
        text={"units": "phones", "lexicon": str(path)},
        training={"epochs": 12},
    )
    train(config, root / "model", device="cpu", console=console)
    return root / "model", printed()


@pytest.fixture(scope="module")
def pieces(trained: Trained, small_config: SmallConfig, tmp_path_factory: pytest.TempPathFactory) -> Path:
    config = small_config(
        data={"train": str(trained.train), "dev": str(trained.dev)},
        text={"units": "bpe", "vocabulary": 14},
        training={"epochs": 16},
    )
    folder = tmp_path_factory.mktemp("bpe") / "model"
    train(config, folder, device="cpu")
    return folder


@pytest.fixture(scope="module")
def words_lm(trained: Trained, tmp_path_factory: pytest.TempPathFactory) -> Path:
    from asr.lm.training import train_ngram

    path = tmp_path_factory.mktemp("lm") / "words.lm"
    train_ngram([trained.train], 2).model.save(path)
    return path


def measured(ran: Ran) -> dict[str, Any]:
    assert ran.status == 0, ran.err
    found: dict[str, Any] = json.loads(ran.out)
    return found


def test_utterances_without_pronunciation_are_counted_and_named(trained: Trained, phones: tuple[Path, str]) -> None:
    lost = [u for u in read_manifest(trained.train) if "head" in (u.text or "").split()]
    assert 0 < len(lost) < 100
    assert f"{len(lost)} utterances left out, without pronunciation:" in phones[1]
    assert f"{lost[0].id}: " in phones[1]
    assert "'head' without a pronunciation in the lexicon; `asr lexicon MANIFEST --output NEW`" in phones[1]


def test_folder_of_a_phone_model_needs_nothing_else(phones: tuple[Path, str]) -> None:
    folder = phones[0]
    config, tokenizer = load_folder(folder)[0].config, load_folder(folder)[1]
    assert isinstance(tokenizer, PhoneTokenizer)
    assert config.text.units == "phones"
    kept = (folder / "pronunciations.txt").read_text().split()
    assert "dab(2)" in kept
    assert "bab" not in kept  # in no transcript
    assert "(phones of a pronunciation lexicon)" in (folder / "README.md").read_text()


def test_greedy_search_over_phones_writes_words(trained: Trained, phones: tuple[Path, str]) -> None:
    recogniser = Recogniser.load(phones[0], "cpu")
    found = evaluate(recogniser, trained.test)
    plain = [key for key, text in found.references.items() if "head" not in text.split()]
    right = [found.hypotheses[key].text == found.references[key] for key in plain]
    assert sum(right) > 0.7 * len(right)
    assert found.score.cer < 0.35
    words = {word for one in found.hypotheses.values() for word in one.text.split() if not word.startswith("<")}
    assert isinstance(recogniser.tokenizer, PhoneTokenizer)
    assert words <= set(recogniser.tokenizer.pronunciations)  # and so not `head`, which it cannot spell
    assert not found.unwritable
    assert not found.untimed


def test_phone_model_with_word_ngram_and_lexicon_through_the_command_line(
    asr_command: AsrCommand, trained: Trained, phones: tuple[Path, str], words_lm: Path, speech: Speech, tmp_path: Path
) -> None:
    """The larger lexicon brings back the word that the model could not learn; its own is there without being named."""
    folder = phones[0]
    path = lexicon(tmp_path / "larger.dict", tuple(speech.words))
    greedy = measured(asr_command("evaluate", trained.test, "--model", folder, "--json"))
    own = measured(asr_command("evaluate", trained.test, "--model", folder, "--beam", 32, "--lm", words_lm, "--json"))
    larger = measured(
        asr_command(
            *("evaluate", trained.test, "--model", folder, "--beam", 32, "--lm", words_lm),
            *("--lexicon", path, "--json"),
        )
    )
    assert larger["wer"] < own["wer"] <= greedy["wer"]
    assert larger["wer"] < 0.1
    assert larger["cer"] < 0.1
    compared = asr_command(
        *("evaluate", trained.test, "--model", folder, "--decoder", "greedy"),
        *("--decoder", f"beam=32,lm={words_lm},lexicon={path}"),
    )
    assert compared.status == 0, compared.err


def test_tuning_keeps_the_lexicon_with_the_language_model(
    asr_command: AsrCommand, trained: Trained, phones: tuple[Path, str], words_lm: Path, speech: Speech, tmp_path: Path
) -> None:
    folder = tmp_path / "model"
    shutil.copytree(phones[0], folder, ignore=shutil.ignore_patterns("checkpoints"))
    path = lexicon(tmp_path / "larger.dict", tuple(speech.words))
    ran = asr_command("lm", "tune", trained.dev, "--model", folder, "--lm", words_lm, "--lexicon", path, "--beam", 16)
    assert ran.status == 0, ran.err
    assert measured(asr_command("evaluate", trained.test, "--model", folder, "--json"))["wer"] < 0.1
    assert load_folder(folder)[0].config.decoding.lexicon == "lexicon.txt"


def test_phone_model_transcribes_with_times_calibrates_and_aligns(
    asr_command: AsrCommand, trained: Trained, phones: tuple[Path, str], speech: Speech, tmp_path: Path
) -> None:
    folder = phones[0]
    spoken = speech.record(tmp_path / "said.wav", "bad cafe dab", seed=7)
    (tmp_path / "said.txt").write_text("bad cafe\ndab\n")
    ran = asr_command("align", spoken.audio, tmp_path / "said.txt", "--model", folder)
    assert ran.status == 0, ran.err
    (tmp_path / "said.txt").write_text("Bad, head\n")
    align = ("align", spoken.audio, tmp_path / "said.txt", "--model", folder)
    ran = asr_command(*align)
    assert ran.status == 1
    assert "line 1: 'head' without a pronunciation in the model's lexicon; " in ran.err
    assert (
        f"`asr lexicon {tmp_path / 'said.txt'} --remove , --output NEW`, and correct NEW and give it as --lex"
        in ran.err
    )
    more = lexicon(tmp_path / "more.dict", ("head",))
    assert asr_command(*align, "--lexicon", more).status == 0
    more.write_text("head H QQ\n")
    ran = asr_command(*align, "--lexicon", more)
    assert (ran.status, "more.dict" in ran.err, "'QQ'" in ran.err) == (1, True, True)
    transcript = tmp_path / "out"
    ran = asr_command("transcribe", spoken.audio, "--model", folder, "--format", "json", "--output-dir", transcript)
    assert ran.status == 0, ran.err
    assert '"bad cafe dab"' in (transcript / "said.json").read_text()


def test_aligning_spells_by_the_lexicon_that_the_model_decodes_with(
    asr_command: AsrCommand, phones: tuple[Path, str], words_lm: Path, speech: Speech, tmp_path: Path
) -> None:
    folder = tmp_path / "model"
    shutil.copytree(phones[0], folder, ignore=shutil.ignore_patterns("checkpoints"))
    lexicon(folder / "larger.txt", tuple(speech.words))
    shutil.copy(words_lm, folder / "words.lm")
    config = load_config(folder / "config.yaml")
    decoding = DecodingConfig(method="beam", lm="words.lm", lexicon="larger.txt")
    save_config(config.model_copy(update={"decoding": decoding}), folder / "config.yaml")
    spoken = speech.record(tmp_path / "said.wav", "bad head", seed=7)
    (tmp_path / "said.txt").write_text("bad head\n")
    ran = asr_command("align", spoken.audio, tmp_path / "said.txt", "--model", folder)
    assert ran.status == 0, ran.err


def test_bpe_model_greedy_and_with_a_word_ngram(
    asr_command: AsrCommand, trained: Trained, pieces: Path, words_lm: Path
) -> None:
    tokenizer = load_folder(pieces)[1]
    assert isinstance(tokenizer, BpeTokenizer)
    assert len(tokenizer) == 14
    greedy = measured(asr_command("evaluate", trained.test, "--model", pieces, "--json"))
    fused = measured(asr_command("evaluate", trained.test, "--model", pieces, "--beam", 32, "--lm", words_lm, "--json"))
    assert greedy["wer"] < 0.4
    assert fused["wer"] <= greedy["wer"]


def test_bpe_model_with_an_ngram_of_its_tokens(
    asr_command: AsrCommand, trained: Trained, pieces: Path, tmp_path: Path
) -> None:
    lm = tmp_path / "tokens.lm"
    ran = asr_command(
        *("lm", "train", trained.train, "--units", "tokens", "--tokens", pieces / "tokens.txt"),
        *("--order", 3, "--output", lm),
    )
    assert ran.status == 0, ran.err
    fused = measured(asr_command("evaluate", trained.test, "--model", pieces, "--beam", 32, "--lm", lm, "--json"))
    assert fused["wer"] < 0.4


def test_model_folder_without_what_its_units_need_is_incomplete(pieces: Path, tmp_path: Path) -> None:
    shutil.copytree(pieces, tmp_path / "model", ignore=shutil.ignore_patterns("bpe.model", "checkpoints"))
    with pytest.raises(CheckpointError, match=r"not a complete model folder, bpe\.model missing"):
        load_folder(tmp_path / "model")


def test_finished_training_is_resumed_with_its_own_pieces(pieces: Path, tmp_path: Path) -> None:
    folder = tmp_path / "model"
    shutil.copytree(pieces, folder)
    before = (folder / "bpe.model").read_bytes()
    result = train(load_config(folder / "config.yaml"), folder, resume=True, device="cpu")
    assert (folder / "bpe.model").read_bytes() == before
    assert result.best_epoch is not None


def test_starting_over_with_other_units_leaves_no_file_of_the_former(
    trained: Trained, small_config: SmallConfig, pieces: Path, tmp_path: Path
) -> None:
    folder = tmp_path / "model"
    shutil.copytree(pieces, folder)
    config = small_config(data={"train": str(trained.train)}, training={"epochs": 1})
    train(config, folder, overwrite=True, device="cpu")
    assert not (folder / "bpe.model").exists()
    assert load_folder(folder)[1].units == "characters"


def test_phone_model_with_an_ngram_of_its_phones(
    asr_command: AsrCommand, trained: Trained, phones: tuple[Path, str], tmp_path: Path
) -> None:
    lm = tmp_path / "phones.arpa"
    ran = asr_command(
        *("lm", "train", trained.train, "--units", "tokens", "--tokens", phones[0] / "tokens.txt"),
        *("--order", 3, "--output", lm),
    )
    assert ran.status == 0, ran.err
    assert "'head' without a pronunciation" in ran.err
    greedy = measured(asr_command("evaluate", trained.test, "--model", phones[0], "--json"))
    fused = measured(asr_command("evaluate", trained.test, "--model", phones[0], "--beam", 32, "--lm", lm, "--json"))
    assert fused["wer"] <= greedy["wer"] + 0.05


def test_info_names_the_units(asr_command: AsrCommand, pieces: Path) -> None:
    assert measured(asr_command("info", pieces, "--json"))["units"] == "bpe"
