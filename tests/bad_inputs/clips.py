"""Clips that cannot be read, or do not belong together."""

import zipfile
from pathlib import Path

import numpy as np
from PIL import Image

from fourreal.video_io import write_image, write_video
from tests.bad_inputs.case import BadInput
from tests.bad_inputs.grids import cut, png_of, void
from tests.gen.footage.footage_files import ffmpeg
from tests.tracking.textured_room import arc, render_path

TITLE = "Clips"


def clip(name: str, seed: int = 0, count: int = 4, size: tuple[int, int] = (48, 64)) -> None:
    """A clip of one noise picture that moves a little; another seed is another scene."""
    rough = np.random.default_rng(seed).random((6, 8, 3), np.float32)
    wide = rough.repeat(size[0] // 6, 0).repeat(size[1] // 8, 1)
    write_video(name, np.stack([np.roll(wide, k, 1) for k in range(count)]), 8)


def clips(*names_seeds: tuple[str, int]) -> None:
    for name, seed in names_seeds:
        clip(name, seed)


def short_row() -> None:
    clip("b.mp4")
    clip("a.mp4", count=1)


def other_shape() -> None:
    clip("b.mp4")
    clip("a.mp4", size=(96, 64))


def cut_clip() -> None:
    clip("b.mp4")
    cut("b.mp4", 0.3)


def images(*sizes: tuple[int, int]) -> None:
    Path("images").mkdir()
    for k, size in enumerate(sizes):
        write_image(f"images/{k}.png", np.full((*size, 3), 0.5, np.float32))


def huge_image() -> None:
    Path("images").mkdir()
    Path("images/0.png").write_bytes(png_of(100_000, 100_000))


def playlist() -> None:
    """A text that ffmpeg would take as a list of other files to open."""
    clip("secret.mp4")
    Path("b.mp4").write_text("ffconcat version 1.0\nfile secret.mp4\n")


def archive() -> None:
    clip("b.mp4")
    with zipfile.ZipFile("b.zip", "w") as file:
        file.write("b.mp4")


def pictures() -> None:
    """A photo, a moving WebP."""
    frames = [Image.new("RGB", (64, 48), (40 * k, 90, 90)) for k in range(4)]
    frames[0].save("b.jpg")
    frames[0].save("b.webp", save_all=True, append_images=frames[1:])


def web_page() -> None:
    Path("b.mp4").write_text("<!DOCTYPE html><html><title>Clip</title></html>")


def encrypted() -> None:
    clip("a.mp4")
    key = "76a6c65c5ea762046bd749a2e632ccbb"
    ffmpeg("-i", "a.mp4", "-c", "copy", "-encryption_scheme", "cenc-aes-ctr", "-encryption_key",
           key, "-encryption_kid", "a7e61c373e219033c21091fa607bf3b8", "b.mp4")  # fmt: skip


def swapped() -> None:
    room, size = arc(16, 80.0), (72, 96)
    write_video("a.mp4", render_path(room, size).frames, 8)
    still = render_path(room[:1].repeat(6, 0), size, np.linspace(0, 0.6, 6)).frames
    write_video("b.mp4", still, 8)


def moves_on() -> None:
    swapped()
    Path("b.mp4").write_bytes(Path("a.mp4").read_bytes())


def in_folders() -> None:
    """A clip in a folder, and photos as a camera's card holds them."""
    Path("clips").mkdir()
    clip("clips/b.mp4")
    Path("card/DCIM/100APPLE").mkdir(parents=True)
    write_image("card/DCIM/100APPLE/IMG_1.jpg", np.full((48, 64, 3), 0.5, np.float32))


def bad_photo(keep: int) -> None:
    images((32, 48), (32, 48))
    path = Path("images/1.png")
    path.write_bytes(path.read_bytes()[:keep])


FREEZE = "videos --freeze-time b.mp4"
PAIR = "videos --fixed-view a.mp4 --freeze-time b.mp4"
CASES = [
    BadInput("no such clip", "videos --freeze-time missing.mp4", r"no such file"),
    BadInput("text for a clip", FREEZE, r"cannot read", lambda: void("b.mp4")),
    BadInput("an empty file", FREEZE, r"cannot read", lambda: Path("b.mp4").touch()),
    BadInput("an address", "videos --freeze-time https://example.com/b.mp4", r"is an address"),
    BadInput("a path as a browser shows it", "videos --freeze-time file://b.mp4",
             r"'file://b.mp4'; 'b.mp4' is there", lambda: clip("b.mp4")),
    BadInput("a name mistyped", "videos --freeze-time freze.mp4", r"did you mean freeze.mp4",
             lambda: clip("freeze.mp4")),
    BadInput("a link to nothing", "videos --freeze-time b.mp4", r"is a link to gone.mp4, which",
             lambda: Path("b.mp4").symlink_to("gone.mp4")),
    BadInput("a download that is not finished", "videos --freeze-time b.mp4.crdownload",
             r"download is not finished", lambda: Path("b.mp4.crdownload").write_bytes(b"x" * 99)),
    BadInput("a pattern of names", "videos --freeze-time photos/*.jpg", r"not as a pattern"),
    BadInput("an archive", "videos --freeze-time b.zip", r"archive .zip.: unpack", archive),
    BadInput("a web page for a clip", FREEZE, r"is a web page", web_page),
    BadInput("a single photo for a clip", "videos --freeze-time b.jpg",
             r"is a picture .JPEG..*the folder that holds", pictures),
    BadInput("a moving picture of a kind that is not read", "videos --freeze-time b.webp",
             r"animated WEBP, which is not read", pictures),
    BadInput("sound without a picture", "videos --freeze-time b.m4a", r"sound and no picture",
             lambda: ffmpeg("-f", "lavfi", "-i", "sine=d=0.2", "b.m4a")),
    BadInput("encrypted video", FREEZE, r"is encrypted .DRM.", encrypted),
    BadInput("a folder of videos for a clip", "videos --freeze-time clips",
             r"holds videos .b.mp4.: name the one", in_folders),
    BadInput("photos deeper in a folder", "videos --freeze-time card",
             r"lie deeper: name card/DCIM/100APPLE", in_folders),
    BadInput("a photo cut off", "videos --freeze-time images", r"1.png; it is damaged or cut off",
             lambda: bad_photo(60)),
    BadInput("a photo without content", "videos --freeze-time images", r"1.png; it is empty",
             lambda: bad_photo(0)),
    BadInput("clips that are swapped", PAIR, r"are they swapped. Try --fixed-view b.mp4", swapped),
    BadInput("a fixed view that moves on", PAIR, r"not fixed: it moves on from frame", moves_on),
    BadInput("a clip cut off", FREEZE, r"cannot read", cut_clip),
    BadInput("a playlist of other files", FREEZE, r"cannot read", playlist),
    BadInput("a freeze-time clip of one frame", FREEZE, r"at least 2 views",
             lambda: clip("b.mp4", count=1)),
    BadInput("a fixed-view clip of one frame", PAIR, r"at least 2 times", short_row),
    BadInput("clips of different scenes", PAIR, r"different scenes",
             lambda: clips(("a.mp4", 1), ("b.mp4", 2))),
    BadInput("clips of different shapes", PAIR, r"different shapes", other_shape),
    BadInput("a folder without images", "videos --freeze-time images", r"holds no",
             lambda: Path("images").mkdir()),
    BadInput("images of different sizes", "videos --freeze-time images", r"differs in size",
             lambda: images((32, 48), (32, 40))),
    BadInput("an image that claims 10^10 pixels", "videos --freeze-time images",
             r"100000x100000", huge_image),
]  # fmt: skip
