"""Tests that judge mistakes in PCGrad, for the tests of the tool that seeds them.

A file that the environment names says what they do where the weights are wrong.
"""

import os
import subprocess
import sys
import time
from pathlib import Path

import pytest

from fl_runtime.training.pcgrad import PCGrad

HOW = Path(os.environ["JUDGED_EXAMPLE"]).read_text() if "JUDGED_EXAMPLE" in os.environ else "fails"
CODE = """
from fl_runtime.training.pcgrad import PCGrad
print(PCGrad(0).solve([[4.0, -1.0], [-1.0, 1.0]]).weights.tolist())
"""


def weights():
    return PCGrad(0).solve([[4.0, -1.0], [-1.0, 1.0]]).weights.tolist()


@pytest.mark.skipif(HOW == "fails elsewhere", reason="it is judged elsewhere")
def test_right():
    if weights() != [0.625, 1.0]:
        if HOW == "dies":
            os._exit(1)
        time.sleep(600.0 if HOW == "does not end" else 0.0)
        pytest.fail("wrong weights")


def test_elsewhere():
    assert HOW != "fails anyway"


def test_in_another_process():
    out = subprocess.run([sys.executable, "-c", CODE], capture_output=True, text=True, check=True)
    assert out.stdout.strip() == "[0.625, 1.0]"


@pytest.mark.skip(reason="not now")
def test_skipped():
    assert weights() == []


@pytest.mark.xfail(reason="known")
def test_expected_to_fail():
    assert weights() == []
