"""Kaldi's `command |` in wav.scp: the recording behind a plain decoder is named, and nothing is ever run."""

from __future__ import annotations

import re
import shlex
from pathlib import PurePath

_OPERATOR = re.compile(r"[();<>|&]+")
_ONE_CHANNEL = re.compile(r"pan=mono\|c0=c(\d+)")
_MEAN = re.compile(r"pan=mono\|c0<(c\d+(?:\+c\d+)+)")


class NotADecoder(ValueError):
    """The command is not the plain decoding of one file; says what is in the way."""


def decoded_file(command: str) -> tuple[str, int | None]:
    """The file that a command decodes to standard output, and the channel from 0 that it takes (None: all, or a mix).

    Known are `flac -c -d FILE`, `sph2pipe -f wav [-p] [-c N] FILE`, `sox FILE [-t wav] - [remix N]`,
    `ffmpeg -i FILE [-ac 1 | -af 'pan=mono|c0=cN'] -f wav -` and `cat FILE`, with the options that leave the speech as
    it is. A change of rate or sample format is no matter: recordings are read at the rate that the model hears.

    Raises:
        NotADecoder: for anything else, such as a second command, an effect or an unknown option.
    """
    try:
        lexer = shlex.shlex(command, posix=True, punctuation_chars=True)
        lexer.whitespace_split, lexer.commenters = True, ""
        words = list(lexer)
    except ValueError as error:
        raise NotADecoder(f"it cannot be read ({error})") from None
    for word in words:
        if _OPERATOR.fullmatch(word):
            raise NotADecoder(f"it is more than one plain command ({word!r})")
    program = PurePath(words[0]).name if words else ""
    if program not in _PROGRAMS:
        raise NotADecoder(f"{program!r} is not one of {', '.join(_PROGRAMS)}")
    return _PROGRAMS[program](words[1:])


def _options(words: list[str], flags: str, valued: str) -> tuple[dict[str, str], list[str]]:
    """Options (flag -> "", valued -> value) and the other words. `flags` and `valued` are regular expressions."""
    options, rest, left = {}, [], iter(words)
    for word in left:
        if re.fullmatch(valued, word):
            options[word] = next(left, "")
        elif re.fullmatch(flags, word):
            options[word] = ""
        elif word.startswith("-") and word != "-":
            raise NotADecoder(f"its option {word!r} is not known to leave the speech as it is")
        else:
            rest.append(word)
    return options, rest


def _one_file(words: list[str]) -> str:
    if len(words) != 1:
        raise NotADecoder(f"it names {len(words)} files instead of one")
    return words[0]


def _flac(words: list[str]) -> tuple[str, None]:
    options, rest = _options(words, r"-[cdsF]+|--(stdout|decode|silent|totally-silent)", "")
    short = "".join(option for option in options if not option.startswith("--"))
    if not ("c" in short or "--stdout" in options) or not ("d" in short or "--decode" in options):
        raise NotADecoder("it does not decode (-d) to standard output (-c)")
    return _one_file(rest), None


def _sph2pipe(words: list[str]) -> tuple[str, int | None]:
    options, rest = _options(words, "-p", "-f|-c")
    if options.get("-f") not in ("wav", "rif"):
        raise NotADecoder("it does not write WAV (-f wav)")
    return _one_file(rest), _from_one(options.get("-c"))


def _sox(words: list[str]) -> tuple[str, int | None]:
    _, rest = _options(words, r"-q|-R|-V[0-6]?", r"-[trbec]|--(bits|encoding|channels)")
    if len(rest) < 2 or rest[1] != "-":
        raise NotADecoder("it does not read one file and write to standard output")
    effect = rest[2:]
    if effect not in ([], ["remix", "-"]) and not (len(effect) == 2 and effect[0] == "remix"):
        raise NotADecoder(f"its effect {' '.join(effect)!r} changes the recording")
    return rest[0], None if effect in ([], ["remix", "-"]) else _from_one(effect[1])


def _ffmpeg(words: list[str]) -> tuple[str, int | None]:
    options, rest = _options(
        words,
        "-nostdin|-hide_banner|-vn|-y",
        "-(i|f|v|loglevel|ar|ac|acodec|c:a|codec:a|threads|af|map_channel|bitexact)",
    )
    if rest not in (["-"], ["pipe:1"], ["pipe:"]) or options.get("-f") != "wav" or "-i" not in options:
        raise NotADecoder("it does not read one file (-i) and write WAV to standard output (-f wav -)")
    if "-af" in options:
        one, mean = _ONE_CHANNEL.fullmatch(options["-af"]), _MEAN.fullmatch(options["-af"])
        if one is None and mean is None:
            raise NotADecoder(f"its filter {options['-af']!r} changes the recording")
        return options["-i"], int(one[1]) if one else None
    if "-map_channel" in options:
        mapped = re.fullmatch(r"0\.0\.(\d+)", options["-map_channel"])
        if mapped is None:
            raise NotADecoder(f"its -map_channel {options['-map_channel']!r} is not one channel of the first stream")
        return options["-i"], int(mapped[1])
    return options["-i"], None


def _cat(words: list[str]) -> tuple[str, None]:
    return _one_file(_options(words, "", "")[1]), None


def _from_one(number: str | None) -> int | None:
    """A channel counted from 1, counted from 0."""
    if number is None:
        return None
    if not number.isdecimal() or int(number) < 1:
        raise NotADecoder(f"its channel {number!r} is not a number from 1")
    return int(number) - 1


_PROGRAMS = {"flac": _flac, "sph2pipe": _sph2pipe, "sox": _sox, "ffmpeg": _ffmpeg, "cat": _cat}
