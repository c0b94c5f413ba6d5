"""Settings that every test relies on."""

import os
import signal

os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")
# A job that a shell runs in the background ignores Ctrl-C, and hands that down to the commands
# that the tests interrupt.
signal.signal(signal.SIGINT, signal.default_int_handler)
