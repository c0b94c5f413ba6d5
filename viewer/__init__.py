"""Scene4D -> something to look at: page, viser, nerfstudio, files for other programs."""

# Modules that the floors above may import; what is not here is this floor's own business.
PUBLIC = (
    "export.gltf",
    "export.open_4dgs",
    "export.ply",
    "export.pointcloud",
    "export.sequence",
    "export.sog",
    "export.splatv",
    "export.spz",
    "export.usd",
    "export.video",
    "nerfstudio_plugin.export",
    "overview",
    "page.html",
    "page.payload",
    "player_scene",
    "read.any_scene",
    "viser.app",
    "viser.live",
)
