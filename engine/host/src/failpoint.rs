//! Named places where a debug build of the daemon kills itself, so that tests can check recovery from a crash there.
//! Release builds contain none of it.

/// The environment variable that selects one of `ALL`; `NAME:2` is the second time it is reached. `NAME:1:panic` is a
/// panic there.
pub const VARIABLE: &str = "ISULAD_FAILPOINT";

macro_rules! failpoints {
    ($($name:ident = $text:literal),+ $(,)?) => {
        $(pub const $name: &str = $text;)+
        /// Every failpoint, in the order in which the life of a container, then of an image, reaches them.
        pub const ALL: &[&str] = &[$($text),+];
    };
}

failpoints! {
    CREATE_BEFORE_FILES = "create-before-files",
    CREATE_BEFORE_INTENT = "create-before-intent",
    CREATE_DONE = "create-done",
    START_AFTER_INTENT = "start-after-intent",
    NET_RECORDED = "net-recorded",
    NET_PINNED = "net-pinned",
    NET_PLUGIN_ADDED = "net-plugin-added",
    NET_ADDED = "net-added",
    NET_ATTACHED = "net-attached",
    START_MOUNTED = "start-mounted",
    VOLUME_COPIED = "volume-copied",
    VOLUME_FILLED = "volume-filled",
    START_SPEC_WRITTEN = "start-spec-written",
    START_SHIM_SPAWNED = "start-shim-spawned",
    START_READY = "start-ready",
    START_UNDONE = "start-undone",
    START_DONE = "start-done",
    ATTACH_RECORDED = "attach-recorded",
    ATTACH_LEFT = "attach-left",
    ATTACH_END_RECOVERED = "attach-end-recovered",
    PAUSE_AFTER_INTENT = "pause-after-intent",
    PAUSE_FROZEN = "pause-frozen",
    RESUME_AFTER_INTENT = "resume-after-intent",
    RESUME_THAWED = "resume-thawed",
    UPDATE_BEFORE_INTENT = "update-before-intent",
    UPDATE_AFTER_INTENT = "update-after-intent",
    UPDATE_APPLIED = "update-applied",
    UPDATE_DONE = "update-done",
    STOP_AFTER_INTENT = "stop-after-intent",
    STOP_SIGNALLED = "stop-signalled",
    STOP_KILLED = "stop-killed",
    COPY_MOUNTED = "copy-mounted",
    COPY_UNMOUNTED = "copy-unmounted",
    COPY_FILE_WRITTEN = "copy-file-written",
    EXIT_SEEN = "exit-seen",
    EXIT_RECORDED = "exit-recorded",
    RESTART_SCHEDULED = "restart-scheduled",
    RESTART_DUE = "restart-due",
    EXEC_BEFORE_RECORD = "exec-before-record",
    EXEC_RECORDED = "exec-recorded",
    EXEC_TOLD = "exec-told",
    EXEC_READY = "exec-ready",
    EXEC_EXITED = "exec-exited",
    EXEC_END_RECORDED = "exec-end-recorded",
    EXEC_DONE = "exec-done",
    NET_DELETED = "net-deleted",
    NET_UNPINNED = "net-unpinned",
    NET_DETACHED = "net-detached",
    NET_PUT_OFF = "net-put-off",
    NET_BRIDGE_REMOVED = "net-bridge-removed",
    RELEASE_UNMOUNTED = "release-unmounted",
    RELEASE_DONE = "release-done",
    REMOVE_AFTER_INTENT = "remove-after-intent",
    REMOVE_RELEASED = "remove-released",
    REMOVE_VOLUMES_GONE = "remove-volumes-gone",
    REMOVE_BUNDLE_GONE = "remove-bundle-gone",
    REMOVE_DONE = "remove-done",
    VOLUME_CREATE_BEFORE_RECORD = "volume-create-before-record",
    VOLUME_REMOVE_AFTER_INTENT = "volume-remove-after-intent",
    VOLUME_REMOVE_DELETED = "volume-remove-deleted",
    SHIM_LOST_RECORDED = "shim-lost-recorded",
    SHIM_ADOPTED = "shim-adopted",
    PULL_RESOLVED = "pull-resolved",
    LOAD_SPOOLED = "load-spooled",
    LAYER_UNPACKED = "layer-unpacked",
    LAYER_STORED = "layer-stored",
    IMAGE_BEFORE_RECORD = "image-before-record",
    IMAGE_RECORDED = "image-recorded",
    IMAGE_TAGGED = "image-tagged",
    IMAGE_UNTAGGED = "image-untagged",
    IMAGE_REMOVED = "image-removed",
    IMAGE_SWEPT = "image-swept",
}

/// Ends the process here, as by `kill -9`, or panics, if this failpoint was selected.
#[inline]
pub fn hit(_name: &str) {
    #[cfg(debug_assertions)]
    armed::hit(_name);
}

#[cfg(debug_assertions)]
mod armed {
    use std::sync::OnceLock;
    use std::sync::atomic::{AtomicU32, Ordering};

    struct Armed {
        name: String,
        left: AtomicU32,
        panics: bool,
    }

    static ARMED: OnceLock<Option<Armed>> = OnceLock::new();

    pub(super) fn hit(name: &str) {
        let armed = ARMED.get_or_init(|| {
            let text = std::env::var(super::VARIABLE).ok()?;
            let (name, count) = text.split_once(':').unwrap_or((&text, "1"));
            let (count, panics) = count.strip_suffix(":panic").map_or((count, false), |count| (count, true));
            Some(Armed { name: name.to_owned(), left: AtomicU32::new(count.parse().unwrap_or(1)), panics })
        });
        if let Some(armed) = armed
            && armed.name == name
            && armed.left.fetch_sub(1, Ordering::SeqCst) == 1
        {
            assert!(!armed.panics, "the failpoint {name}");
            let _ = rustix::process::kill_process(rustix::process::getpid(), rustix::process::Signal::KILL);
        }
    }
}
