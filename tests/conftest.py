"""Settings that every test relies on."""

import os

os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")
