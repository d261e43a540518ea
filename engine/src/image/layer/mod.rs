//! Layers: from a tar stream to a directory that an overlay can be made of, and back.
