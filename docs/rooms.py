"""Draw `rooms.svg` from the import contracts in pyproject.toml: `python docs/rooms.py`."""

from __future__ import annotations

import tomllib
from pathlib import Path

import matplotlib.pyplot as plt
from matplotlib.axes import Axes
from matplotlib.patches import FancyBboxPatch

ROOT = Path(__file__).parent.parent
PACKAGES = ("fairopt", "mechanisms", "proofs", "fl_runtime")
COLOURS = dict(zip(PACKAGES, ("#dbe9f6", "#e2f0d9", "#fff2cc", "#f8dcd3"), strict=True))
FILES = "#ffffff"
WIDTH, PER_ROW = 10.0, 3
STYLE = {"svg.hashsalt": "rooms", "svg.fonttype": "none", "font.size": 9}


def layers() -> dict[str, list[list[str]]]:
    """The rooms of every package, line by line, the top first."""
    contracts = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["tool"][
        "importlinter"
    ]["contracts"]
    return {
        contract["containers"][0]: [
            line.replace(":", "|").replace(" ", "").split("|") for line in contract["layers"]
        ]
        for contract in contracts
        if contract["type"] == "layers" and contract.get("containers", [""])[0] in PACKAGES
    }


def draw_package(axes: Axes, package: str, lines: list[list[str]]) -> None:
    """One package: folders coloured, files white, each line above those it may import."""
    axes.set(xlim=(0.0, WIDTH), title=package)
    axes.axis("off")
    y = 0.0
    for number, line in enumerate(lines):
        for begin in range(0, len(line), PER_ROW):
            row = line[begin : begin + PER_ROW]
            for place, room in enumerate(row):
                folder = (ROOT / package / room).is_dir()
                wide = WIDTH / len(row)
                box = (place * wide + 0.1, y - 0.8)
                colour = COLOURS[package] if folder else FILES
                axes.add_patch(
                    FancyBboxPatch(box, wide - 0.2, 0.62, "round,pad=0.04", fc=colour, ec="#555555")
                )
                label = room + "/" if folder else room
                axes.text(box[0] + wide / 2 - 0.1, y - 0.5, label, ha="center", va="center")
            y -= 0.9
        if number + 1 < len(lines):
            axes.annotate(
                "",
                (WIDTH / 2, y - 0.32),
                (WIDTH / 2, y + 0.08),
                arrowprops={"arrowstyle": "->", "color": "#555555"},
            )
            y -= 0.4
    axes.set_ylim(y - 0.2, 0.1)


def draw(path: Path) -> None:
    """All packages side by side; imports go down and, between packages, to the left."""
    found = layers()
    with plt.rc_context(STYLE):
        figure, panels = plt.subplots(1, len(PACKAGES), figsize=(22.0, 8.5))
        for axes, package in zip(panels, PACKAGES, strict=True):
            draw_package(axes, package, found[package])
        figure.tight_layout()
        figure.savefig(path, metadata={"Date": None} if path.suffix == ".svg" else None)
        plt.close(figure)


if __name__ == "__main__":
    draw(Path(__file__).with_name("rooms.svg"))
