from __future__ import annotations

import numpy as np

from surrogate_ax.media.contact_sheet import GAP, MARGIN, TILE, Row, contact_sheet

RED, BLUE = (255, 0, 0), (0, 0, 255)
PALETTE = {"#ff0000": 3.0, "#0000ff": 1.0}


def _flat(colour: tuple[int, int, int]) -> np.ndarray:
    return np.full((16, 16, 3), colour, dtype=np.uint8)


def _runs(line: np.ndarray, colour: tuple[int, int, int]) -> list[int]:
    """Lengths of the runs of a colour in a row of pixels."""
    same = np.concatenate([[False], (line == colour).all(axis=1), [False]])
    edges = np.flatnonzero(np.diff(same.astype(int)))
    return list(edges[1::2] - edges[::2])


def test_outputs_are_enlarged_without_smoothing_in_their_rows() -> None:
    checks = _flat(RED)
    checks[::2, ::2] = BLUE
    rows = [Row("first", "", [_flat(RED), checks], ["1", "2"]), Row("second", "", [_flat(BLUE)], ["3"])]
    sheet = np.asarray(contact_sheet("title", {"Prompt": "p"}, rows, palette={"#00ff00": 1.0}))
    colours = {tuple(pixel) for pixel in sheet[:, MARGIN : MARGIN + TILE].reshape(-1, 3)}
    assert {RED, BLUE} <= colours
    red = np.flatnonzero((sheet[:, MARGIN + 5] == RED).all(axis=1))
    blue = np.flatnonzero((sheet[:, MARGIN + 5] == BLUE).all(axis=1))
    assert len(red) == len(blue) == TILE
    assert red[-1] < blue[0]
    left = MARGIN + TILE + GAP
    assert _runs(sheet[red[0] + 1, left : left + TILE], BLUE) == [TILE // 16] * 8  # a pixel is a sharp square


def test_the_palette_bar_has_its_shares() -> None:
    sheet = np.asarray(
        contact_sheet("title", {"Prompt": "p"}, [Row("r", "", [_flat((9, 9, 9))], ["1"])], palette=PALETTE)
    )
    line = next(line for line in sheet if (line == RED).all(axis=1).any())
    (red,), (blue,) = _runs(line, RED), _runs(line, BLUE)
    assert abs(red - 3 * blue) <= 3


def test_long_texts_widen_the_sheet_instead_of_being_cut() -> None:
    row = Row("title", "note " * 60, [_flat(RED)], ["1"])
    sheet = np.asarray(contact_sheet("t", {"Prompt": "word " * 50}, [row], palette=PALETTE))
    assert (sheet[:, -MARGIN // 2 :] == 255).all()


def test_a_row_may_be_empty() -> None:
    full, empty = Row("full", "", [_flat(RED)] * 3, ["a", "b", "c"]), Row("empty", "nothing came of it", [], [])
    sheet = contact_sheet("t", {}, [full, empty])
    assert sheet.width >= 2 * MARGIN + 3 * TILE + 2 * GAP
