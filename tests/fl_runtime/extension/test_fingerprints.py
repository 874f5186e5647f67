"""A run remembers the source behind the user's own parts, and refuses another one."""

import hashlib
import subprocess
import sys
from collections.abc import Iterator
from importlib import metadata
from pathlib import Path

import pytest

from fairopt.errors import InvalidInput
from fl_runtime.configuration.input_hashes import check_inputs, with_inputs
from fl_runtime.configuration.toml_files import check_config
from fl_runtime.user_objects import NO_FILE, fingerprint
from tests import forked
from tests.fl_runtime.extension.test_own_parts import small

FIRST = "from parts.second import second\n\ndef first():\n    return second()\n"
SECOND = "def second():\n    return 2\n"


@pytest.fixture
def package(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    folder = tmp_path / "parts"
    folder.mkdir()
    (folder / "__init__.py").touch()
    (folder / "first.py").write_text(FIRST, encoding="utf-8")
    (folder / "second.py").write_text(SECOND, encoding="utf-8")
    monkeypatch.syspath_prepend(tmp_path)
    yield folder
    for name in [name for name in sys.modules if name.partition(".")[0] == "parts"]:
        del sys.modules[name]


def test_one_file_is_its_sha256(package: Path) -> None:
    expected = hashlib.sha256((package / "second.py").read_bytes()).hexdigest()
    assert fingerprint("key", "parts.second:second") == expected


def test_a_change_of_a_module_behind_a_module_is_seen(package: Path) -> None:
    before = fingerprint("key", "parts.first:first")
    assert before == fingerprint("key", "parts.first:second")  # named where it is imported
    (package / "second.py").write_text(SECOND + "\n", encoding="utf-8")
    after = fingerprint("key", "parts.first:first")
    assert after != before
    (package / "first.py").write_text(FIRST + "\n", encoding="utf-8")
    assert fingerprint("key", "parts.first:first") not in (before, after)


def test_what_is_installed_is_its_version() -> None:
    assert fingerprint("key", "torch.optim:Adam") == f"torch {metadata.version('torch')}"
    assert fingerprint("key", "math:sqrt").startswith("python 3.")


def test_what_has_no_file_says_so(monkeypatch: pytest.MonkeyPatch) -> None:
    from types import ModuleType

    module = ModuleType("in_memory")
    module.__dict__["one"] = lambda: 1
    monkeypatch.setitem(sys.modules, "in_memory", module)
    assert fingerprint("key", "in_memory:one") == NO_FILE


def test_an_edited_part_is_named(package: Path) -> None:
    model = "def net(example_shape, num_classes, hidden):\n    ...\n"
    (package / "net.py").write_text(model, encoding="utf-8")
    config = with_inputs(check_config(small(task__model="parts.net:net")))
    check_inputs(config)
    (package / "net.py").write_text(model + "# edited\n", encoding="utf-8")
    with pytest.raises(InvalidInput, match=r"parts\.net:net has changed.*the source that the run"):
        check_inputs(config)


@pytest.mark.slow
def test_an_algorithm_edited_between_run_and_resume_is_refused_in_one_line(tmp_path: Path) -> None:
    algorithm = (
        "from dataclasses import dataclass\nfrom fl_runtime.algorithms import FedAvg\n"
        "@dataclass(frozen=True, kw_only=True)\nclass Own(FedAvg):\n    strength: float = 1.0\n"
    )
    (tmp_path / "mine.py").write_text(algorithm, encoding="utf-8")
    (tmp_path / "a.toml").write_text(
        '[run]\nalgorithm = "mine:Own"\nnum-server-rounds = 2\n[[task]]\nname = "wine"\n'
        'data = "wine"\nmodel = "linear"\n[clients]\nnum-clients = 4\n',
        encoding="utf-8",
    )
    assert forked.command("fl_runtime", "run", "a.toml", "--out", "r", cwd=tmp_path).returncode == 0
    written = (tmp_path / "r" / "config.toml").read_text(encoding="utf-8")
    assert hashlib.sha256(algorithm.encode()).hexdigest() in written
    assert forked.command("fl_runtime", "resume", "r", cwd=tmp_path).returncode == 0
    (tmp_path / "mine.py").write_text(algorithm.replace("1.0", "2.0"), encoding="utf-8")
    done = forked.command("fl_runtime", "resume", "r", cwd=tmp_path)
    assert done.returncode == 2
    assert done.stderr.count("\n") == 1
    assert "mine:Own has changed, but it must be the source that the run began with" in done.stderr
    assert "(mine.py or" in done.stderr
    load = "import fl_runtime; fl_runtime.load_model('r', 'wine'{})"
    for more, said in (("", "edited=True"), (", edited=True", "")):
        call = [sys.executable, "-c", load.format(more)]
        loaded = subprocess.run(call, cwd=tmp_path, capture_output=True, text=True, check=False)
        assert (loaded.returncode == 0) == (not said)
        assert said in loaded.stderr
