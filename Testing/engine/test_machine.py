"""Memory that is freed serves again within a training, and is given back after it."""

import os
import sys

import numpy as np
import pytest

from llmboost.machine import reused_memory, total_memory

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


@pytest.mark.parametrize(
    ("group", "limits", "told"),
    [
        ("0::/", {"memory.max": 3 * MB}, 3 * MB),
        ("0::/", {"memory.max": "max"}, None),
        ("0::/job/step", {"job/memory.max": 2 * MB, "job/step/memory.max": "max"}, 2 * MB),
        ("0::/job/step", {"job/memory.max": 2 * MB, "job/step/memory.max": MB}, MB),
        ("0::/elsewhere", {"memory.max": MB}, MB),
        ("3:cpu,memory:/job\n0::/", {"memory/job/memory.limit_in_bytes": MB}, MB),
        ("3:cpu:/job", {"cpu/job/memory.limit_in_bytes": MB}, None),
        ("3:memory:/job", {"memory/memory.limit_in_bytes": 9223372036854771712}, None),
        (None, {}, None),
    ],
    ids=str,
)
@pytest.mark.skipif(sys.platform == "win32", reason="Windows tells nothing of its memory")
def test_memory_that_a_control_group_limits(tmp_path, group, limits, told):
    files = {f"sys/fs/cgroup/{name}": f"{value}\n" for name, value in limits.items()}
    for name, text in {**files, **({"proc/self/cgroup": f"{group}\n"} if group else {})}.items():
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_text(text)
    assert total_memory(tmp_path) == (told or os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES"))
