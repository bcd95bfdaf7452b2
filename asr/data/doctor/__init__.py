"""The doctor: finds what is wrong with the utterances of manifests before hours are spent on them."""

from asr.data.doctor.audio_checks import fewest_frames, frames_problem, header_problem, length_problem
from asr.data.doctor.examination import examine
from asr.data.doctor.fixing import Change, check_folder, fix, summarise_changes
from asr.data.doctor.kinds import Finding
from asr.data.doctor.report import Report
from asr.data.doctor.text_checks import text_problem

__all__ = [
    "Change",
    "Finding",
    "Report",
    "check_folder",
    "examine",
    "fewest_frames",
    "fix",
    "frames_problem",
    "header_problem",
    "length_problem",
    "summarise_changes",
    "text_problem",
]
