//! The engine behind `isulad`.
