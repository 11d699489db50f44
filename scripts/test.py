"""Every check in one command: `python3 scripts/test.py [--slow] [pytest arguments...]`.

Sets up .venv/ when needed, then runs ruff, mypy, sphinx and pytest. All of them run, whatever fails, and the exit
status is 0 only when all passed. Coverage is measured and required when the whole suite runs, so not with
pytest arguments.
"""

from __future__ import annotations

import sys
import time

from bootstrap import ensure_environment, run_in_environment

STATIC = {"ruff check": ["ruff", "check"], "ruff format": ["ruff", "format", "--check"], "mypy": ["mypy"]}
# All pages each time, or a warning of the last build would not be seen again.
DOCS = ["sphinx", "--fail-on-warning", "--keep-going", "--quiet", "--fresh-env", "-c", "docs/site", "docs", "out/docs"]
COVERAGE = ["--cov", "--cov-report=term", "--cov-fail-under=90"]
# A file's tests stay in one process, so that its costly fixtures are made once; one thread each overbooks no core.
PARALLEL = ["--numprocesses=2", "--dist=loadfile"]
SINGLE_THREAD = {"OMP_NUM_THREADS": "1"}


def main(arguments: list[str]) -> int:
    """Run all checks, print how each went, and return the exit status."""
    whole_suite = all(argument == "--slow" for argument in arguments)
    checks = {
        **STATIC,
        "docs": DOCS,
        "pytest": ["pytest", *PARALLEL, *(COVERAGE if whole_suite else []), *arguments],
    }
    ensure_environment()
    summary = []
    passed = True
    for name, command in checks.items():
        print(f"\n=== {name}", flush=True)
        start = time.monotonic()
        status = run_in_environment(["-m", *command], SINGLE_THREAD)
        passed = passed and status == 0
        verdict = "passed" if status == 0 else f"FAILED (exit status {status})"
        summary.append(f"{name:<12} {verdict}, {time.monotonic() - start:.0f} s")
    print("\n=== summary", *summary, sep="\n", flush=True)
    return 0 if passed else 1


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
