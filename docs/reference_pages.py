"""The pages of the reference: every public name with its docstring, in the order of `__all__`."""

from __future__ import annotations

import ast
from pathlib import Path
from typing import Any

ROOT = Path(__file__).parent.parent
PACKAGES = {
    "reference/fairopt.md": ("fairopt", "fairopt.network"),
    "reference/torch.md": ("fairopt.torch",),
    "reference/rivals.md": ("fairopt.rivals",),
    "reference/reference.md": ("fairopt.reference",),
    "reference/mechanisms.md": ("mechanisms", "mechanisms.properties"),
    "reference/studies.md": (
        "mechanisms.studies.comparison",
        "mechanisms.studies.values",
        "mechanisms.studies.rounds",
        "mechanisms.studies.cost_distributions",
        "mechanisms.studies.cost_drift",
        "mechanisms.studies.repeated_auctions",
    ),
    "reference/proofs.md": (
        "proofs",
        "proofs.certificates",
        "proofs.conformance",
        "proofs.strategies",
    ),
    "reference/fl_runtime.md": (
        "fl_runtime",
        "fl_runtime.training.task",
        "fl_runtime.training.job",
        "fl_runtime.data.sources",
    ),
}
"""Pages and what they document; the first name of a page is its title."""


def exported(module: str) -> list[str]:
    """Full paths of what a package exports, in the order of its `__all__`."""
    source = (ROOT / module.replace(".", "/") / "__init__.py").read_text(encoding="utf-8")
    tree = ast.parse(source)
    home = {
        name.asname or name.name: f"{line.module}.{name.name}"
        for line in ast.walk(tree)
        if isinstance(line, ast.ImportFrom)
        for name in line.names
    }
    names = next(
        ast.literal_eval(line.value)
        for line in tree.body
        if isinstance(line, ast.Assign) and ast.unparse(line.targets[0]) == "__all__"
    )
    return [home[name] for name in names]


def section(module: str, top: bool) -> str:
    """A module: what it is about, then its names."""
    heading = f"{'#' if top else '##'} {module}\n\n"
    if (ROOT / module.replace(".", "/")).is_dir():
        about = f"::: {module}\n    options: {{members: false, show_root_heading: false}}\n\n"
        return heading + about + "".join(f"::: {name}\n\n" for name in exported(module))
    return f"{heading}::: {module}\n    options: {{show_root_heading: false}}\n\n"


def on_files(files: Any, config: Any) -> Any:
    """Add the pages."""
    from mkdocs.structure.files import File

    for page, modules in PACKAGES.items():
        text = "".join(section(module, k == 0) for k, module in enumerate(modules))
        files.append(File.generated(config, page, content=text))
    return files
