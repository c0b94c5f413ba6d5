"""Text, clips or footage -> VideoGrid: generator, data, training, footage readers."""

# Modules that the floors above may import; what is not here is this floor's own business.
PUBLIC = (
    "bundled",
    "camera_move",
    "completion.model",
    "footage.column",
    "footage.detect",
    "footage.footage",
    "footage.inspection",
    "footage.pair",
    "footage.selection",
    "footage.sheet",
    "generate",
    "grid",
    "network.base",
    "network.runtime",
    "sync.names",
    "upsample",
    "wan.adapter_file",
    "wan.folder",
    "wan.generate",
    "wan.lattice",
    "wan.memory",
    "wan.two_stream",
    "words",
)
