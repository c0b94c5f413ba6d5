"""Freeze-time video -> cameras, dense depth and dense 3-D tracks (paper Sec. 4.4, supplement)."""

# Modules that the floors above may import; what is not here is this floor's own business.
PUBLIC = (
    "backends.table",
    "backends.with_any",
    "column",
    "column_file",
    "config",
    "depth.colours",
    "depth.consistency",
    "depth.witnesses",
    "flow.in_common",
    "flow.trusted",
)
