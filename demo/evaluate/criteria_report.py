"""``python -m demo.evaluate.criteria_report FILE...``: tables and plots of what ``demo.evaluate.criteria`` measured."""

from __future__ import annotations

import argparse
from pathlib import Path

from crdiff import console
from demo.evaluate.cells import DENSE_NAME, MAIN, Cell, Measured, row, table
from demo.evaluate.criteria_plots import save_gain_against_cost, save_radars


def overview(measured: Measured, varied: str) -> list[str]:
    """Markdown with a row for each criterion: at each size the share of captions right and the gain over dense.

    A gain is bold if zero lies outside its interval; a star stands where the gain over magnitude is so too.
    """
    sizes = [size for size in measured.sizes() if any(cell.size == size for cell in _of(measured, varied))]
    lines = [row(["criterion", "passes", *sizes]), row(["---"] * (len(sizes) + 2))]
    dense = [measured.of(size, DENSE_NAME, "") for size in sizes]
    lines.append(row([DENSE_NAME, "1.00", *(str(measured.right(cell)) if cell else "" for cell in dense)]))
    own = [measured.of(size, DENSE_NAME, varied) for size in sizes]
    if any(own):
        lines.append(row([f"{DENSE_NAME}, {varied}", "1.00", *(_shown(measured, cell) for cell in own)]))
    for label in measured.labels(varied):
        cells = [measured.of(size, label, varied) for size in sizes]
        passes = [cell.passes for cell in cells if cell is not None]
        cost = f"{min(passes):.2f}" if min(passes) == max(passes) else f"{min(passes):.2f}-{max(passes):.2f}"
        lines.append(row([label, cost, *(_shown(measured, cell) for cell in cells)]))
    return lines


def _of(measured: Measured, varied: str) -> list[Cell]:
    return [cell for cell in measured.cells.values() if cell.varied == varied]


def _shown(measured: Measured, cell: Cell | None) -> str:
    if cell is None:
        return ""
    gain, beyond = measured.beyond_dense(cell), measured.beyond_magnitude(cell)
    text = f"{100 * measured.right(cell).value:.1f}"
    if gain is not None:
        shown = f"{100 * gain.value:+.1f} ± {50 * (gain.high - gain.low):.1f}"
        text += f" (**{shown}**)" if gain.low > 0.0 or gain.high < 0.0 else f" ({shown})"
    return f"{text} *" if beyond is not None and beyond.low > 0.0 else text


def main() -> None:
    """Prints the tables; merges the files and draws the plots, if asked to."""
    console.allow_any_text()
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("files", type=Path, nargs="+", help="JSON of python -m demo.evaluate.criteria")
    parser.add_argument("--full", action="store_true", help="also a line for each cell, with ratios and k")
    parser.add_argument("--json", type=Path, help="one file of all that was measured")
    parser.add_argument("--radar", type=Path, help="SVG with a radar for each criterion, k varied")
    parser.add_argument("--cost", type=Path, help="SVG of the gain against UNet passes")
    options = parser.parse_args()
    measured = Measured.read_all(options.files)
    for varied in dict.fromkeys(cell.varied for cell in measured.cells.values() if cell.varied):
        print(
            "\n".join(
                [
                    f"Captions right, %, and the gain over dense in points; {varied}:",
                    "",
                    *overview(measured, varied),
                    "",
                ]
            )
        )
    if options.full:
        cells = sorted(measured.cells.values(), key=lambda cell: measured.sizes().index(cell.size))
        print("\n".join(table(measured, cells)))
    if options.json:
        measured.write(options.json)
    try:
        if options.radar:
            save_radars(measured, MAIN[-1], options.radar)
        if options.cost:
            save_gain_against_cost(measured, MAIN, options.cost)
    except ValueError as error:
        parser.error(str(error))


if __name__ == "__main__":
    main()
