"""How large viser's own HTML file of a scene is, to compare the player's with."""

from __future__ import annotations

from typing import Any

import viser

from recon.scene import Scene4D
from viewer.viser.splats import Splats, as_arguments


def viser_html_megabytes(scene: Scene4D, fps: float = 8.0) -> float:
    """Megabytes of the file that viser's serializer writes when the points move once a time.

    Colours and opacities stay as they are at the first time, which makes viser's file smaller.

    Raises:
        NotImplementedError: viser before 1.1, which writes no such file.
    """
    server: Any = viser.ViserServer(host="127.0.0.1", port=18900, verbose=False)
    try:
        if not hasattr(server, "get_scene_serializer"):
            raise NotImplementedError("viser before 1.1 writes no such file")
        serializer = server.get_scene_serializer()
        if not hasattr(serializer, "as_html"):
            raise NotImplementedError("viser before 1.1 writes no such file")
        start = float(scene.times[0])
        seen = scene.keep(scene.at(start).opacities >= 1 / 255)
        now = seen.at(start)
        parts = (now.means, now.scales, now.colors, now.opacities)
        splats = Splats(*(p.cpu().numpy() for p in parts))
        node = server.scene.add_gaussian_splats("/scene", *as_arguments(splats))
        for t in scene.times.tolist():
            node.centers = seen.at(t).means.cpu().numpy()
            serializer.insert_sleep(1 / fps)
        return len(serializer.as_html().encode()) / 1e6
    finally:
        server.stop()
