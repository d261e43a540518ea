//! Names of images.
