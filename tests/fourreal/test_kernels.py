"""Kept machine code: never older than its sources, in a folder that can be written."""

import ast
import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from fourreal import kernels

FLOORS = ("fourreal", "gen", "tracking", "recon", "viewer", "pipeline")
KERNEL = """
from fourreal.kernels import njit
from recon.helper import SCALE, add

@njit(cache=True)
def kernel(x):
    return add(x, x) * SCALE
"""
HELPER = """
from fourreal.kernels import njit

SCALE = {scale}

@njit
def add(a, b):
    return a {sign} b + 0.0
"""
ASK = "from recon.kernel import kernel as k; print(k(3.0), sum(k.stats.cache_hits.values()))"


@pytest.fixture
def house(tmp_path):
    """A tree with the module and one kernel that uses another file."""
    for name in ("fourreal", "recon"):
        (tmp_path / name).mkdir()
        (tmp_path / name / "__init__.py").touch()
    for name in ("kernels.py", "console.py"):
        shutil.copy(Path(kernels.__file__).parent / name, tmp_path / "fourreal")
    (tmp_path / "recon" / "kernel.py").write_text(KERNEL)
    (tmp_path / "recon" / "helper.py").write_text(HELPER.format(scale=1, sign="+"))
    return tmp_path


def ask(house, **environment):
    """The kernel's answer, how many kernels came from the disk, and what was said."""
    usual = {k: v for k, v in os.environ.items() if k != "NUMBA_CACHE_DIR"}
    usual |= {"PYTHONPATH": str(house), "XDG_CACHE_HOME": str(house / "cache")}
    usual |= {"PYTHONDONTWRITEBYTECODE": "1", **environment}
    done = subprocess.run(
        [sys.executable, "-c", ASK], env=usual, capture_output=True, text=True, cwd=house
    )
    assert done.returncode == 0, done.stderr
    value, hits = done.stdout.split()
    return float(value), int(hits), done.stderr


@pytest.mark.slow
def test_an_edit_of_a_helper_or_constant_is_seen(house):
    assert ask(house)[:2] == (6.0, 0)
    assert ask(house)[:2] == (6.0, 1)
    helper = house / "recon" / "helper.py"
    before = helper.stat()
    for scale, sign, expected in ((2, "+", 12.0), (2, "-", 0.0)):
        helper.write_text(HELPER.format(scale=scale, sign=sign))
        os.utime(helper, (before.st_atime, before.st_mtime))
        assert ask(house)[:2] == (expected, 0)
    helper.write_text(HELPER.format(scale=1, sign="+"))
    assert ask(house)[:2] == (6.0, 1)  # the code of those sources is still there
    assert not list((house / "recon").rglob("*.nbi"))


def test_without_a_home_folder_a_private_temporary_one_is_used_and_named(house):
    nowhere = {"HOME": "/proc/nope", "XDG_CACHE_HOME": "/proc/nope/c", "TMPDIR": str(house)}
    value, _, said = ask(house, **nowhere)
    assert value == 6.0 and "NUMBA_CACHE_DIR" in said and str(house) in said
    assert len(said.splitlines()) == 1
    private = next(house.glob("fourreal-kernels-*"))
    assert ask(house, **nowhere)[1] == 1
    private.chmod(0o755)  # somebody else could look into it: nothing in it is trusted
    value, hits, said = ask(house, **nowhere)
    assert (value, hits) == (6.0, 0) and "compiled anew" in said


def test_a_folder_of_the_users_choice_comes_first(house):
    value, _, said = ask(house, NUMBA_CACHE_DIR=str(house / "mine"))
    assert value == 6.0 and not said
    assert list((house / "mine").rglob("*.nbi"))


def test_every_kernel_of_ours_is_kept_that_way():
    for package in ("fourreal", "gen", "tracking", "recon", "viewer", "pipeline"):
        for file in (kernels.OURS / package).rglob("*.py"):
            if file != Path(kernels.__file__):
                text = file.read_text("utf-8")
                assert "numba.njit" not in text and "numba import njit" not in text, file


def test_sources_are_those_that_a_kernel_imports():
    blend = kernels.OURS / "recon" / "raster" / "cpu" / "blend.py"
    names = {p.relative_to(kernels.OURS).as_posix() for p in kernels.sources(blend)}
    assert {"recon/raster/kernels/simd.py", "fourreal/kernel_threads.py"} <= names
    assert not any(name.startswith(("viewer", "pipeline")) for name in names)


def test_a_kernel_that_others_call_is_inlined_into_them():
    """Else the process that compiles draws other last bits than one that loads the kernels."""
    found: dict[str, tuple[Path, ast.FunctionDef, str]] = {}
    for path in sorted(p for floor in FLOORS for p in (kernels.OURS / floor).rglob("*.py")):
        for node in ast.walk(ast.parse(path.read_text())):
            if isinstance(node, ast.FunctionDef):
                for decorator in map(ast.unparse, node.decorator_list):
                    if decorator.startswith("njit"):
                        found[node.name] = path, node, decorator
    called = {
        call.func.id
        for name, (_, kernel, _) in found.items()
        for call in ast.walk(kernel)
        if isinstance(call, ast.Call) and isinstance(call.func, ast.Name) and call.func.id != name
    } & set(found)
    assert len(called) > 10
    for name in called:
        path, _, decorator = found[name]
        inlined = "forceinline=True" in decorator or "inline='always'" in decorator
        assert inlined and "cache=True" not in decorator, f"{path}: {name}"
