//! The exit codes that shells use for programs that could not be run, found in the runtimes' messages.

/// The exit code that shells use for a program that could not be run, by the runtime's message: 127 for a missing one,
/// 126 for one that cannot be executed, 125 for every other failure.
pub(crate) fn exit_code_of(message: &str) -> u8 {
    let lower = message.to_ascii_lowercase();
    let contains = |texts: &[&str]| texts.iter().any(|text| lower.contains(text));
    // The message counts from the program's name on: a missing path before it is the runtime's or the container's.
    let program =
        ["exec: \"", "exec /", "exec container process", "executable file", "open executable", "cannot find `"];
    let named = program.iter().filter_map(|text| lower.find(text)).min().map_or("", |at| &lower[at..]);
    // crun 1.2x gives nothing but the path, as the whole message.
    let about_program = if lower.starts_with("open `/") && !lower.contains('\n') { &lower } else { named };
    let missing = [
        "executable file not found",
        "no such file or directory",
        "not a directory",
        "too many levels of symbolic links",
        "executable file `",
    ];
    if missing.iter().any(|text| about_program.contains(text)) {
        127
    } else if contains(&[
        "permission denied",
        "is a directory",
        "exec format error",
        "open executable: operation not permitted",
        "exists but it is not executable",
        "is not a regular file",
    ]) {
        126
    } else {
        125
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Messages of the runtimes at a run and at an exec of: a name and a path that are not there, a directory, a file
    /// that is not executable, a path below a file, links that lead round and nowhere, an empty name.
    #[test]
    fn each_runtimes_message_about_a_program_gives_the_shells_code() {
        for (text, code) in [
            // runc 1.1
            (
                "runc run failed: unable to start container process: exec: \"nope\": executable file not found in $PATH",
                127,
            ),
            ("exec failed: unable to start container process: exec: \"nope\": executable file not found in $PATH", 127),
            (
                "runc run failed: unable to start container process: exec: \"/nope\": stat /nope: no such file or directory",
                127,
            ),
            (
                "exec failed: unable to start container process: exec: \"/nope\": stat /nope: no such file or directory",
                127,
            ),
            ("runc run failed: unable to start container process: exec: \"/etc\": permission denied", 126),
            ("exec failed: unable to start container process: exec: \"/etc\": permission denied", 126),
            ("runc run failed: unable to start container process: exec: \"/etc/passwd\": permission denied", 126),
            ("exec failed: unable to start container process: exec: \"/etc/passwd\": permission denied", 126),
            (
                "runc run failed: unable to start container process: exec: \"/etc/passwd/x\": stat /etc/passwd/x: not a directory",
                127,
            ),
            (
                "exec failed: unable to start container process: exec: \"/etc/passwd/x\": stat /etc/passwd/x: not a directory",
                127,
            ),
            ("runc run failed: unable to start container process: exec: \"/bin/nox\": permission denied", 126),
            ("exec failed: unable to start container process: exec: \"/bin/nox\": permission denied", 126),
            (
                "runc run failed: unable to start container process: exec: \"nox\": executable file not found in $PATH",
                127,
            ),
            ("exec failed: unable to start container process: exec: \"nox\": executable file not found in $PATH", 127),
            (
                "runc run failed: unable to start container process: exec: \"/bin/loop\": stat /bin/loop: too many levels of symbolic links",
                127,
            ),
            (
                "exec failed: unable to start container process: exec: \"/bin/loop\": stat /bin/loop: too many levels of symbolic links",
                127,
            ),
            (
                "runc run failed: unable to start container process: exec: \"/bin/dangling\": stat /bin/dangling: no such file or directory",
                127,
            ),
            (
                "exec failed: unable to start container process: exec: \"/bin/dangling\": stat /bin/dangling: no such file or directory",
                127,
            ),
            (
                "runc run failed: unable to start container process: exec: \"/dir/../nope2\": stat /dir/../nope2: no such file or directory",
                127,
            ),
            (
                "exec failed: unable to start container process: exec: \"/dir/../nope2\": stat /dir/../nope2: no such file or directory",
                127,
            ),
            ("runc run failed: unable to start container process: exec: \"\": executable file not found in $PATH", 127),
            ("exec failed: unable to start container process: exec: \"\": executable file not found in $PATH", 127),
            // runc 1.3
            (
                "runc run failed: unable to start container process: error during container init: exec: \"nope\": executable file not found in $PATH",
                127,
            ),
            ("exec failed: unable to start container process: exec: \"nope\": executable file not found in $PATH", 127),
            (
                "runc run failed: unable to start container process: error during container init: exec: \"/nope\": stat /nope: no such file or directory",
                127,
            ),
            (
                "exec failed: unable to start container process: exec: \"/nope\": stat /nope: no such file or directory",
                127,
            ),
            (
                "runc run failed: unable to start container process: error during container init: exec: \"/etc\": is a directory",
                126,
            ),
            ("exec failed: unable to start container process: exec: \"/etc\": is a directory", 126),
            (
                "runc run failed: unable to start container process: error during container init: exec: \"/etc/passwd\": permission denied",
                126,
            ),
            ("exec failed: unable to start container process: exec: \"/etc/passwd\": permission denied", 126),
            (
                "runc run failed: unable to start container process: error during container init: exec: \"/etc/passwd/x\": stat /etc/passwd/x: not a directory",
                127,
            ),
            (
                "exec failed: unable to start container process: exec: \"/etc/passwd/x\": stat /etc/passwd/x: not a directory",
                127,
            ),
            (
                "runc run failed: unable to start container process: error during container init: exec: \"/bin/nox\": permission denied",
                126,
            ),
            ("exec failed: unable to start container process: exec: \"/bin/nox\": permission denied", 126),
            (
                "runc run failed: unable to start container process: error during container init: exec: \"nox\": executable file not found in $PATH",
                127,
            ),
            ("exec failed: unable to start container process: exec: \"nox\": executable file not found in $PATH", 127),
            (
                "runc run failed: unable to start container process: error during container init: exec: \"/bin/loop\": stat /bin/loop: too many levels of symbolic links",
                127,
            ),
            (
                "exec failed: unable to start container process: exec: \"/bin/loop\": stat /bin/loop: too many levels of symbolic links",
                127,
            ),
            (
                "runc run failed: unable to start container process: error during container init: exec: \"/bin/dangling\": stat /bin/dangling: no such file or directory",
                127,
            ),
            (
                "exec failed: unable to start container process: exec: \"/bin/dangling\": stat /bin/dangling: no such file or directory",
                127,
            ),
            (
                "runc run failed: unable to start container process: error during container init: exec: \"/dir/../nope2\": stat /dir/../nope2: no such file or directory",
                127,
            ),
            (
                "exec failed: unable to start container process: exec: \"/dir/../nope2\": stat /dir/../nope2: no such file or directory",
                127,
            ),
            (
                "runc run failed: unable to start container process: error during container init: exec: \"\": executable file not found in $PATH",
                127,
            ),
            ("exec failed: unable to start container process: exec: \"\": executable file not found in $PATH", 127),
            // crun 1.8
            ("executable file `nope` not found in $PATH: No such file or directory", 127),
            ("executable file `/nope` not found in $PATH: No such file or directory", 127),
            ("open executable: Operation not permitted", 126),
            ("open executable: Permission denied", 126),
            ("open executable: Not a directory", 127),
            ("open executable: Too many levels of symbolic links", 127),
            ("executable file `/bin/dangling` not found in $PATH: No such file or directory", 127),
            ("executable file `/dir/../nope2` not found in $PATH: No such file or directory", 127),
            // crun 1.28
            ("executable file `nope` not found in $PATH: No such file or directory", 127),
            ("executable file `/nope` not found: No such file or directory", 127),
            ("the path `/etc` is not a regular file: Operation not permitted", 126),
            ("the path `/etc/passwd` exists but it is not executable: Operation not permitted", 126),
            ("open `/etc/passwd/x`: Not a directory", 127),
            ("the path `/bin/nox` exists but it is not executable: Operation not permitted", 126),
            ("the path `nox` exists but it is not executable: Operation not permitted", 126),
            ("open `/bin/loop`: Too many levels of symbolic links", 127),
            ("executable file `/bin/dangling` not found: No such file or directory", 127),
            ("executable file `/dir/../nope2` not found: No such file or directory", 127),
            ("cannot find `` in $PATH: No such file or directory", 127),
        ] {
            assert_eq!(exit_code_of(text), code, "{text}");
        }
    }
}
