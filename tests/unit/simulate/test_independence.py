"""The simulator shares no code with what it tests."""

import subprocess
import sys


def test_simulator_imports_neither_detectors_nor_geometry_nor_torch():
    code = (
        "import sys, reprocess.simulate.archive, reprocess.simulate.truth\n"
        "print([m for m in sys.modules if m == 'torch' or m.startswith("
        "('reprocess.detectors', 'reprocess.geometry'))])\n"
    )
    shown = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert shown.stdout.strip() == "[]"
