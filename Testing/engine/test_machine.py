"""Memory that is freed serves again within a training, and is given back after it."""

import os
import sys

import numpy as np
import pytest

from llmboost.machine import reused_memory

MB = 2**20


def faults(times):
    """Pages that the system had to give for a large array, made and freed so often."""
    resource = pytest.importorskip("resource", reason="Windows does not count pages")
    before = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
    for _ in range(times):
        np.ones(10 * MB)
    return resource.getrusage(resource.RUSAGE_SELF).ru_minflt - before


def resident():
    with open("/proc/self/statm") as file:
        return int(file.read().split()[1]) * os.sysconf("SC_PAGE_SIZE")


@pytest.mark.skipif(sys.platform != "linux", reason="other systems' memory is left as it is")
def test_reused_memory():
    before, pages = resident(), 80 * MB // os.sysconf("SC_PAGE_SIZE")
    with reused_memory():
        faults(1)
        assert faults(5) < pages / 10
        kept = resident()
    # Not beside what was resident before: a piece that other tests had left free may have served.
    assert kept - resident() > 70 * MB
    assert resident() - before < 20 * MB


def test_errors_pass():
    with pytest.raises(ZeroDivisionError), reused_memory():
        1 / 0  # noqa: B018
