//! The wire types.
