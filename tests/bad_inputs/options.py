"""Commands and options that cannot be meant."""

from contextlib import AbstractContextManager
from unittest.mock import patch

from tests.bad_inputs.case import BadInput

TITLE = "Commands and options"


def no_gpu() -> AbstractContextManager:
    return patch("torch.cuda.is_available", return_value=False)


CASES = [
    BadInput("mistyped command", "promt", r"did you mean 'prompt'"),
    BadInput("no such command", "xyzzy", r"choose from prompt, videos, grid"),
    BadInput("empty prompt", "prompt '  '", r"prompt is empty"),
    BadInput("no word of the prompt is known", "prompt 'zxqv wvut kkk'", r"has no word"),
    BadInput("a single view", "prompt 'a red ball' --views 1", r"--views 1: choose 2\.\.64"),
    BadInput("no times", "prompt 'a red ball' --times 0", r"--times 0"),
    BadInput("no denoising steps", "prompt 'a red ball' --steps 0", r"--steps 0"),
    BadInput("too many cells", "prompt 'a red ball' --views 64 --times 65", r"at most 4096 cells"),
    BadInput("size in words", "prompt 'a red ball' --size big", r"HEIGHTxWIDTH"),
    BadInput("size too small", "grid . --size 8x8", r"--size 8x8: height must be"),
    BadInput("negative memory bound", "prompt 'a red ball' --max-memory -1", r"--max-memory"),
    BadInput("no weights in the folder", "prompt 'a red ball' --weights nowhere", r"nowhere"),
    BadInput("unknown stage", "prompt 'a red ball' --force nonsense", r"nonsense.*no such stage"),
    BadInput("tracker without its checkout", "grid . --tracker delta", r"--tracker-path"),
    BadInput("no GPU for the gpu preset", "grid . --preset gpu", r"--preset cpu", during=no_gpu),
]
