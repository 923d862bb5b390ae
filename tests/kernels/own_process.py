"""Python in a process of its own, for what torch or Triton decides once a process."""

import os
import subprocess
import sys
from pathlib import Path

HERE = Path(__file__).parent


def run(*command, **environment):
    """Run Python in a process of its own and show what failed there."""
    result = subprocess.run(
        [sys.executable, *command],
        cwd=HERE,
        env={name: value for name, value in os.environ.items() if name != "TRITON_INTERPRET"} | environment,
        capture_output=True,
        text=True,
    )
    assert result.returncode == 0, result.stdout + result.stderr
