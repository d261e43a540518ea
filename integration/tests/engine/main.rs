//! The real binaries: their documented behaviour, tested on real runtimes.

#![allow(clippy::unwrap_used, reason = "every function here is part of a test")]

/// Runs each of a module's functions as a test on either runtime.
macro_rules! on_each_runtime {
    ($($test:ident),+ $(,)?) => {
        mod runc {
            $(#[test] fn $test() { super::$test(integration::Runtime::Runc) })+
        }
        mod crun {
            $(#[test] fn $test() { super::$test(integration::Runtime::Crun) })+
        }
    };
}

mod attach;
mod bad_input;
mod compat;
mod daemon_killed;
mod damaged_files;
mod events;
mod exec;
mod faults;
mod files;
mod health;
mod images;
mod init;
mod interrupted;
mod introspection;
mod late_helpers;
mod layers;
mod lifecycle;
mod listing;
mod load;
mod logs;
mod long_requests;
mod lost_shims;
mod many_names;
mod names;
mod networks;
mod old_store;
mod oom;
mod options;
mod ordering;
mod panics;
mod power_cut;
mod restart_policy;
mod roots;
mod shim_faults;
mod shims;
mod slow_clients;
mod store_trouble;
mod strangers;
mod terminal;
mod tidy;
mod update;
mod usage;
mod world_changed;
