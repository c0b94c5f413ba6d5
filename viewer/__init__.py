"""Scene4D -> something to look at: page, viser, nerfstudio, files for other programs."""

# Modules that the floors above may import; what is not here is this floor's own business.
PUBLIC = (
    "export.ply",
    "export.pointcloud",
    "export.video",
    "nerfstudio_plugin.export",
    "overview",
    "page.html",
    "page.payload",
    "viser.app",
    "viser.live",
)
