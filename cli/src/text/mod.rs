//! How things are written for people and scripts: durations, times, tables, templates.

pub(crate) mod elapsed;
pub(crate) mod moment;
pub(crate) mod table;
pub(crate) mod template;
