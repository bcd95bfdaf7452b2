from __future__ import annotations

from asr.training.plateau import PATIENCE, Plateau


def lines(rows: list[tuple[int, float, float]]) -> list[str]:
    plateau = Plateau()
    return [line for row in rows if (line := plateau.update(*row))]


def test_a_loss_that_stands_while_blanks_alone_come_out_is_said_once_and_again_after_twice_as_long() -> None:
    said = lines([(step, 2.9, 0.01 * (step % 30 == 0)) for step in range(10, 4 * PATIENCE, 10)])
    assert [line.split(":")[0] for line in said] == [f"step {PATIENCE + 10}", f"step {2 * PATIENCE + 10}"]
    assert "nothing but blanks" in said[0]
    assert "about 2.90 a label" in said[0]


def test_a_loss_that_falls_is_no_plateau() -> None:
    assert lines([(step, 3.0 * 0.999**step, 0.0) for step in range(10, 4 * PATIENCE, 10)]) == []


def test_tokens_that_come_out_are_no_plateau() -> None:
    assert lines([(step, 2.9, 0.5) for step in range(10, 4 * PATIENCE, 10)]) == []


def test_the_end_of_a_plateau_that_was_said_is_said() -> None:
    stuck = [(step, 2.9, 0.0) for step in range(10, PATIENCE + 20, 10)]
    assert "off the plateau" in lines([*stuck, (PATIENCE + 30, 2.8, 0.2)])[-1]
    assert lines([*stuck[:5], (60, 2.8, 0.2)]) == []
