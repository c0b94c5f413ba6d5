"""The procedural world: a batched ray tracer with captions, cameras, depth and exact tracks."""
