//! Exits as shims report them, in the domain's form.

use isulad_shim::{ExitRecord, ExitStatus as ShimStatus};

use crate::domain::container::{Cause, ExitStatus, RecordedExit};
use crate::domain::id::{Process, Signal, StartId, Timestamp};

pub(crate) fn to_recorded_exit(record: ExitRecord) -> RecordedExit {
    RecordedExit {
        start: StartId(record.start),
        // Only the pid is recorded; the process is gone, so its start time is of no use.
        process: Process { pid: record.pid.unsigned_abs(), start_time: 0 },
        status: to_status(record.status, Cause::ShimLost),
        at: Timestamp(record.at),
        oom: record.oom,
    }
}

/// The domain's form of a status; `cause` is for an unknown one.
pub(crate) fn to_status(status: ShimStatus, cause: Cause) -> ExitStatus {
    match status {
        ShimStatus::Code(code) => ExitStatus::Code(code),
        ShimStatus::Signal(signal) => ExitStatus::Signal(Signal(signal.into())),
        ShimStatus::Unknown => ExitStatus::Unknown(cause),
    }
}
