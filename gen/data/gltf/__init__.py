"""glTF 2.0 files: reading untrusted ones, and what their animations mean at a given time."""
