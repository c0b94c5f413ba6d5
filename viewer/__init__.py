"""Scene4D -> something to look at: page, viser, nerfstudio, files for other programs."""

# Modules that the floors above may import; what is not here is this floor's own business.
PUBLIC = (
    "export.open_4dgs",
    "export.per_moment",
    "export.ply",
    "export.pointcloud",
    "export.splatv",
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
