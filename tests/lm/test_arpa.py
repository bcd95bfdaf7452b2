from __future__ import annotations

import gzip
import math
import re
from pathlib import Path

import pytest

from asr.errors import LanguageModelError
from asr.lm.arpa import LONGEST_LINE, read_arpa, write_arpa
from asr.lm.ngram import NgramModel

ARPA = r"""\data\
ngram 1=5
ngram 2=3

\1-grams:
-1.2	<unk>
-99	<s>	-0.3
-0.5	</s>
-0.6	a	-0.2
-0.7	b

\2-grams:
-0.1	<s> a
-0.2	a b
-0.4	a </s>

\end\
"""


def score(model: NgramModel, sentence: str) -> float:
    return model.score(sentence) / math.log(10)


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "model.arpa"


@pytest.mark.parametrize(
    "text",
    [
        ARPA,
        ARPA.replace("\n", "\r\n"),
        "made by a tool, for a purpose\n\n" + ARPA + "and a last word\n",
        ARPA.replace("\n", "\n\n \t\n"),
        ARPA.replace("\t", " ").replace("a b", "a   b "),
        ARPA.replace("</s>\n", "</s>\t0\n", 1).replace("b\n\n", "b\t-0.0\n\n").replace("<s> a", "<s> a\t0"),
        ARPA.replace("-0.6\ta\t-0.2\n-0.7\tb\n", "-0.7\tb\n-6e-1\ta\t-.2\n").replace("ngram 1=5", "ngram  1 = 5"),
        ARPA.replace("<unk>", "<UNK>"),
        ARPA.removesuffix("\n"),
    ],
    ids=["plain", "CR LF", "text around", "blank lines", "spaces", "zeros", "order", "UNK", "no last line end"],
)
def test_forms_that_tools_and_people_write(path: Path, text: str) -> None:
    path.write_text(text, newline="")
    model = read_arpa(path)
    assert sorted(model.words) == ["</s>", "<s>", "<unk>", "a", "b"]
    assert score(model, "a b") == pytest.approx(-0.1 - 0.2 - 0.5)
    assert score(model, "b z a") == pytest.approx(-0.3 - 0.7 - 1.2 - 0.6 - 0.4)


def test_gzip(path: Path) -> None:
    packed = path.with_name("model.arpa.gz")
    packed.write_bytes(gzip.compress(ARPA.encode()))
    assert score(read_arpa(packed), "a b") == pytest.approx(-0.8)


def test_a_model_without_unk_gets_one_as_in_kenlm(path: Path) -> None:
    path.write_text(ARPA.replace("-1.2\t<unk>\n", "").replace("ngram 1=5", "ngram 1=4"))
    assert score(read_arpa(path), "z") == pytest.approx(-0.3 - 100 - 0.5)


def test_no_break_spaces_belong_to_words(path: Path) -> None:
    path.write_text(ARPA.replace("a", "x\u00a0y\u3000z").replace("\\dx\u00a0y\u3000ztx\u00a0y\u3000z", "\\data")
                    .replace("grx\u00a0y\u3000zm", "gram"), encoding="utf-8")  # fmt: skip
    assert "x\u00a0y\u3000z" in read_arpa(path).words


def test_a_written_file_is_what_other_tools_write(path: Path) -> None:
    path.write_text(ARPA)
    write_arpa(read_arpa(path), path)
    assert path.read_text() == (
        "\\data\\\nngram 1=5\nngram 2=3\n\n"
        "\\1-grams:\n-1.2\t<unk>\t0\n-99\t<s>\t-0.3\n-0.5\t</s>\t0\n-0.6\ta\t-0.2\n-0.7\tb\t0\n\n"
        "\\2-grams:\n-0.1\t<s> a\n-0.4\ta </s>\n-0.2\ta b\n\n\\end\\\n"
    )


def test_writing_twice_gives_the_same_bytes(path: Path) -> None:
    path.write_text(ARPA)
    model = read_arpa(path)
    for name in ("first.arpa.gz", "second.arpa.gz"):
        write_arpa(model, path.with_name(name))
    assert path.with_name("first.arpa.gz").read_bytes() == path.with_name("second.arpa.gz").read_bytes()
    assert gzip.decompress(path.with_name("first.arpa.gz").read_bytes()).startswith(b"\\data\\\nngram 1=5\n")


BROKEN = {
    "empty": ("", "model.arpa: the file is empty"),
    "no data": ("hello\nworld\n", "line 2: the file ends before \\data\\; it is cut, or no ARPA file"),
    "binary": ("mmap lm http://kheafield.com/code\n\0\0", "the file ends before \\data\\"),
    "cut in the counts": (ARPA[: ARPA.index("ngram 2")], "line 2: the file ends before \\1-grams:"),
    "cut in the n-grams": (ARPA[: ARPA.index("-0.4")], "line 14: the file ends before \\end\\"),
    "no counts": (ARPA.replace("ngram 1=5\nngram 2=3\n", ""), "line 3: no line `ngram 1=COUNT`"),
    "count of a missing order": (
        ARPA.replace("ngram 2=3", "ngram 3=3"),
        "line 3: a count of 3-grams where that of 2-grams must be; orders are missing",
    ),
    "unreadable count": (ARPA.replace("=5", "=five"), "line 2: expected `ngram 1=COUNT`, found 'ngram 1=five'"),
    "missing section": (
        ARPA.replace("ngram 2=3", "ngram 2=3\nngram 3=1"),
        "line 18: expected \\3-grams:, found '\\\\end\\\\'; are n-grams of an order missing?",
    ),
    "section without count": (
        ARPA.replace("\nngram 2=3", "").replace("\t-0.3", "").replace("a\t-0.2", "a"),
        "line 11: expected \\end\\, found '\\\\2-grams:'; the counts name 1 orders",
    ),
    "unknown tag": (ARPA.replace("\\2-grams:", "\\2-grammes:"), "line 12: expected \\2-grams:, found '\\\\2-grammes:'"),
    "more n-grams than counted": (ARPA.replace("2=3", "2=2"), "line 12: 3 2-grams follow, but line 3 counts 2"),
    "fewer n-grams than counted": (ARPA.replace("1=5", "1=50"), "line 5: 5 1-grams follow, but line 2 counts 50"),
    "n-gram without its words": (
        ARPA.replace("-0.2\ta b", "-0.2\tb c"),
        "line 14: the word 'c' is not among the 1-grams",
    ),
    "not a number": (
        ARPA.replace("-0.2\ta b", "-0,2\ta b"),
        "line 14: '-0,2' is not a number in '-0,2 a b'; the decimal sign must be a point",
    ),
    "back-off not a number": (ARPA.replace("<s>\t-0.3", "<s>\tx"), "line 7: 'x' is not a number"),
    "NaN": (ARPA.replace("-0.2\ta b", "nan\ta b"), "line 14: a log-probability must be a finite number"),
    "infinite back-off": (ARPA.replace("<s>\t-0.3", "<s>\t-inf"), "line 7: a back-off weight must be a finite number"),
    "positive": (ARPA.replace("-0.2\ta b", "0.2\ta b"), "line 14: a positive log-probability, so a probability over 1"),
    "back-off of the longest": (
        ARPA.replace("a b", "a b\t-1"),
        "line 14: a back-off weight, though no n-gram is longer",
    ),
    "too few words": (ARPA.replace("a b", "b"), "line 14: expected log10 P, 2 word(s), and perhaps a back-off weight"),
    "too many words": (ARPA.replace("a b", "a b b b"), "line 14: expected log10 P, 2 word(s)"),
    "no word": (ARPA.replace("-0.7\tb", "-0.7"), "line 10: expected log10 P, 1 word(s)"),
    "a word twice": (ARPA.replace("-0.7\tb", "-0.7\ta"), "line 10: 'a' is there twice"),
    "an n-gram twice": (ARPA.replace("a </s>", "a b"), "line 15: 'a b' is there twice"),
    "no <s>": (
        ARPA.replace("-99\t<s>\t-0.3\n", "").replace("-0.1\t<s> a\n", "").replace("1=5", "1=4").replace("2=3", "2=2"),
        "line 5: no 1-gram <s>; sentences need their begin and end",
    ),
}


@pytest.mark.parametrize(("text", "message"), BROKEN.values(), ids=BROKEN)
def test_broken_files_name_the_line(path: Path, text: str, message: str) -> None:
    path.write_text(text)
    with pytest.raises(LanguageModelError, match=re.escape(message)) as caught:
        read_arpa(path)
    assert str(caught.value).startswith(str(path))


def test_a_back_off_that_points_nowhere_names_both(path: Path) -> None:
    text = ARPA.replace("ngram 2=3", "ngram 2=3\nngram 3=2")
    path.write_text(text.replace("\\end\\", "\\3-grams:\n-0.1\t<s> a b\n-0.3\tb a b\n\\end\\"))
    with pytest.raises(
        LanguageModelError, match=r"line 20: 'b a b' goes on from 'b a', which is not among the 2-grams"
    ):
        read_arpa(path)


@pytest.mark.parametrize("name", ["model.arpa", "model.arpa.gz"])
@pytest.mark.parametrize("size", [LONGEST_LINE + 1, 1_000_000, 3_000_000])
def test_a_million_characters_without_line_end(tmp_path: Path, name: str, size: int) -> None:
    content = ARPA.replace("a b\n", "a b\n" + "x" * size).encode()
    (tmp_path / name).write_bytes(gzip.compress(content) if name.endswith("gz") else content)
    with pytest.raises(LanguageModelError, match=r"line 15: \d{6,} characters or more without a line end"):
        read_arpa(tmp_path / name)


def test_other_encodings_name_the_line(path: Path) -> None:
    path.write_bytes(ARPA.replace("-0.7\tb", "-0.7\té").encode("latin-1"))
    with pytest.raises(LanguageModelError, match="line 10: not UTF-8 text"):
        read_arpa(path)


def test_a_cut_gzip_file(tmp_path: Path) -> None:
    path = tmp_path / "model.arpa.gz"
    path.write_bytes(gzip.compress(ARPA.encode())[:-20])
    with pytest.raises(LanguageModelError, match="the gzip file is cut or damaged"):
        read_arpa(path)
    path.write_text(ARPA)
    with pytest.raises(LanguageModelError, match=r"cannot be read \(Not a gzipped file"):
        read_arpa(path)


def test_a_missing_file(path: Path) -> None:
    with pytest.raises(LanguageModelError, match=r"model\.arpa: cannot be read \(No such file or directory\)"):
        read_arpa(path)
