//! A recorded process, as the kernel is asked for it.

use isulad_shim::ProcessRef;

use crate::domain::id::Process;

pub(crate) fn to_process(process: ProcessRef) -> Process {
    Process { pid: process.pid.unsigned_abs(), start_time: process.start_time }
}

pub(crate) fn to_reference(process: Process) -> ProcessRef {
    ProcessRef { pid: process.pid.cast_signed(), start_time: process.start_time }
}
