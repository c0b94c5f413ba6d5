"""The command `doctor`: what this machine can do, in one screen, and what is slow."""

from __future__ import annotations

import importlib.metadata
import importlib.util
import os
import platform
import shutil
import tempfile
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from fourreal.console import say
from fourreal.kernel_threads import usable_cores
from fourreal.run_folder import versions

# module: (what it is for, extra that installs it)
OPTIONAL_PARTS = {
    "open3d": ("point clouds", "open3d"),
    "pxr": ("USD files", "formats"),
    "zstandard": (".4dgs files with zstd", "formats"),
    "nerfstudio": ("nerfstudio viewer", "nerfstudio"),
    "torchmetrics": ("metric networks", "eval"),
    "transformers": ("T5 text encoder", "t5"),
    "diffusers": ("Wan base model", "wan"),
    "moderngl": ("asset rendering", "render"),
    "ray": ("many scenes at once", "ray"),
}
LITTLE_MEMORY, LITTLE_DISK = 4.0, 2.0  # GB under which a run may fail
RUN_DISK = 1.0  # GB that a run may need


@dataclass
class Doctor:
    """Versions, devices, optional parts, memory and disk in one screen."""


def doctor(options: Doctor | None = None) -> None:
    """Print versions, devices, optional parts, memory, disk and what will be slow."""
    for line in report():
        say(line)


def report() -> list[str]:
    """The lines of ``run_pipeline.py doctor``, at most a screenful.

    What cannot be told on this machine is a line that says so; the others follow all the same.
    """
    sections: dict[str, Callable[[], list[str]]] = {
        "versions": lambda: [", ".join(f"{k} {v}" for k, v in versions().items())],
        "system": lambda: [
            f"{platform.platform()}; {usable_cores()} of {os.cpu_count()} cores usable"
        ],
        "memory": lambda: ["{} of {} available".format(*map(_gb, memory()))],
        "disk": _disk,
        "device": devices,
        "video": _video,
        "weights": lambda: [_weights()],
        "optional": _optional,
        "tracker": _trackers,
        "wan": _wan,
        "slow": lambda: what_is_slow(memory()[0], _free(".")) or ["nothing stands out"],
    }
    lines = []
    for name, tell in sections.items():
        try:
            told = tell()
        except Exception as error:  # whatever is broken here must not hide the rest
            said = " ".join(str(error).split())[:160]
            told = [f"cannot be told ({type(error).__name__}: {said})"]
        lines += [line if line.startswith("depth: ") else f"{name}: {line}" for line in told]
    return lines


def _disk() -> list[str]:
    scratch = tempfile.gettempdir()
    return [
        f"{_free('.'):.0f} GB free in {Path.cwd()}, a run needs up to {RUN_DISK:.0f} GB; "
        f"{_free(scratch):.0f} GB in {scratch}"
    ]


def _optional() -> list[str]:
    lines = []
    for module, (what, extra) in OPTIONAL_PARTS.items():
        there = importlib.util.find_spec(module) is not None
        state = _version(module) if there else f"no: pip install -e '.[{extra}]'"
        lines.append(f"{module} ({what}): {state}")
    return lines


def _trackers() -> list[str]:
    from tracking.backends.table import listing

    return [line.removeprefix("tracker: ") for line in listing()]


def _wan() -> list[str]:
    from gen.wan.memory import fit_lines

    return fit_lines(free_gpu_memory())


def devices() -> list[str]:
    """A line for each GPU, or one that says what is used instead."""
    import torch

    if not torch.cuda.is_available():
        why = "this torch has no CUDA" if torch.version.cuda is None else "no driver or no GPU"
        return [f"no CUDA ({why}); drawn by our CPU rasterizer (numba)"]
    lines = []
    for k in range(torch.cuda.device_count()):
        free, total = (n / 2**30 for n in torch.cuda.mem_get_info(k))
        major, minor = torch.cuda.get_device_capability(k)
        name = torch.cuda.get_device_name(k)
        lines.append(
            f"CUDA {torch.version.cuda}, {name} (compute {major}.{minor}), {free:.0f} of "
            f"{total:.0f} GB free; drawn by gsplat"
        )
    return lines


def free_gpu_memory() -> float | None:
    """GB (1e9 bytes) free on the first CUDA device; None: there is none."""
    import torch

    return torch.cuda.mem_get_info()[0] / 1e9 if torch.cuda.is_available() else None


def what_is_slow(available: float | None, disk: float) -> list[str]:
    """What will take long or may fail on this machine, with what to do about it.

    Args:
        available: GB of memory that can be had; None: unknown. disk: GB free.
    """
    import torch

    found = []
    if not torch.cuda.is_available():
        found.append(
            "no GPU: a scene of 8 x 8 frames of 144x256 takes minutes, a larger --size longer; "
            "Wan and the paper's sizes need a GPU (--preset debug only shows that all works)"
        )
    elif shutil.which("nvcc") is None and importlib.util.find_spec("gsplat.csrc") is None:
        found.append("gsplat has no built kernels and nvcc is missing: it cannot build them")
    if usable_cores() < 2:
        found.append("one core: everything takes about twice as long as on two")
    busy = _load()
    if busy > 0.5 * usable_cores():
        found.append(f"other programs keep {busy:.1f} of {usable_cores()} cores busy")
    if available is not None and available < LITTLE_MEMORY:
        found.append(f"{available:.1f} GB of memory: set --max-memory, --size or fewer views")
    if disk < LITTLE_DISK:
        found.append(f"{disk:.1f} GB of disk: a run may not fit; choose another --out")
    if not _kernels_are_kept():
        found.append(
            "compiled kernels cannot be kept: every run compiles them anew "
            "(set NUMBA_CACHE_DIR to a folder that can be written)"
        )
    return found


def memory() -> tuple[float | None, float | None]:
    """GB available and in all, within the bound of a container; None: unknown."""
    fields: dict[str, float] = {}
    try:
        for line in Path("/proc/meminfo").read_text().splitlines():
            name, _, value = line.partition(":")
            fields[name] = int(value.split()[0]) / 2**20
    except (OSError, ValueError, IndexError):
        return None, None
    available, total = fields.get("MemAvailable"), fields.get("MemTotal")
    try:
        bound = int(Path("/sys/fs/cgroup/memory.max").read_text()) / 2**30
        used = int(Path("/sys/fs/cgroup/memory.current").read_text()) / 2**30
    except (OSError, ValueError):  # no container, or one without a bound
        return available, total
    if available is None or total is None:
        return bound - used, bound
    return min(available, bound - used), min(total, bound)


def _free(folder: str) -> float:
    """GB free for files in a folder."""
    return shutil.disk_usage(folder).free / 2**30


def _gb(value: float | None) -> str:
    return "unknown" if value is None else f"{value:.1f} GB"


def _load() -> float:
    try:
        return os.getloadavg()[0]
    except (OSError, AttributeError):
        return 0.0


def _version(module: str) -> str:
    try:
        return importlib.metadata.version(module)
    except importlib.metadata.PackageNotFoundError:
        return "yes"


def _video() -> list[str]:
    import av
    import imageio_ffmpeg
    import pi_heif

    try:
        ffmpeg = f"ffmpeg {imageio_ffmpeg.get_ffmpeg_version()}"
    except (RuntimeError, OSError) as error:
        ffmpeg = f"no ffmpeg: {str(error).splitlines()[0]}"
    return [f"{ffmpeg}, PyAV {av.__version__}, libheif {pi_heif.libheif_version()}"]


def _weights() -> str:
    from fourreal.errors import UserError
    from gen.bundled import weights_folder
    from gen.network.base import read_config
    from gen.upsample import has_upsampler

    try:
        folder = weights_folder("")
        size = sum(f.stat().st_size for f in folder.glob("*.safetensors")) / 2**20
        words = len(read_config(folder)["vocabulary"])
    except UserError as error:
        return str(error)
    upsampler = "with" if has_upsampler(folder) else "without"
    return f"bundled, {size:.0f} MB, {words} words, {upsampler} upsampler"


def _kernels_are_kept() -> bool:
    """Whether compiled kernels outlive a process (without that every one compiles for seconds)."""
    from fourreal.kernels import cache_root

    return cache_root() is not None
