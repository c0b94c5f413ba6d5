"""Settings that every test relies on."""

import os
import signal

import pytest

os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")
# A job that a shell runs in the background ignores Ctrl-C, and hands that down to the commands
# that the tests interrupt.
signal.signal(signal.SIGINT, signal.default_int_handler)


@pytest.hookimpl(tryfirst=True)
def pytest_cmdline_main(config: pytest.Config) -> None:
    """With ``-n`` every worker has its share of the cores, and takes over tests when it is done.

    On two cores, two threads in each of two workers cost tests of networks a fifth more time, those
    of tracking a tenth.
    """
    workers = getattr(config.option, "numprocesses", None)
    if not workers:
        return
    if config.option.dist == "no":
        config.option.dist = "worksteal"
    share = (os.cpu_count() or 1) // workers if isinstance(workers, int) else 1
    for name in ("OMP_NUM_THREADS", "OPENCV_FOR_THREADS_NUM"):  # workers inherit them
        os.environ.setdefault(name, str(max(1, share)))
