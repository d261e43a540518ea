//! Compiles the programs that run in containers, for the engine's target: with the compiler at hand, without a standard
//! library.

use std::env;
use std::ffi::{OsStr, OsString};
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, Result, bail, ensure};

/// Source and name of each. Their architecture-dependent parts lie beside the first.
const PROGRAMS: [(&str, &str); 2] = [("pause/pause.rs", "isulad-pause"), ("init/init.rs", "isulad-init")];

fn main() -> Result<()> {
    for directory in ["pause", "init"] {
        println!("cargo::rerun-if-changed={directory}");
    }
    let target = env::var("TARGET").context("cargo names the target")?;
    let arch = env::var("CARGO_CFG_TARGET_ARCH").context("cargo names the architecture")?;
    let assembly = Path::new(PROGRAMS[0].0).with_file_name(format!("{arch}.rs"));
    if !assembly.exists() {
        bail!("the programs in containers have no system calls for {arch}: add `engine/{}`", assembly.display());
    }
    let out = PathBuf::from(env::var_os("OUT_DIR").context("cargo names the output directory")?);
    PROGRAMS.into_iter().try_for_each(|(source, name)| compile(&target, source, &out.join(name)))
}

fn compile(target: &str, source: &str, out: &Path) -> Result<()> {
    let rustc = env::var_os("RUSTC").context("cargo names the compiler")?;
    let mut command = Command::new(rustc);
    let name = Path::new(source).file_stem().and_then(OsStr::to_str).context("the sources have names")?;
    command.args([source, "--crate-name", name, "--crate-type", "bin", "--edition", "2024", "--target", target]);
    for option in [
        "panic=abort",
        "opt-level=z",
        "lto=fat",
        "codegen-units=1",
        "debug-assertions=off",
        "overflow-checks=off",
        "force-unwind-tables=no",
        "relocation-model=static",
        "target-feature=+crt-static",
        "strip=symbols",
    ] {
        command.args(["-C", option]);
    }
    // Only the programs' own code: no start files, no libraries, no identification that differs between machines.
    let linker = linker(target);
    let arguments: &[&str] = if linker.as_deref().is_some_and(is_bare) {
        &["-static", "--build-id=none", "-znoexecstack"]
    } else {
        &["-nostartfiles", "-nostdlib", "-static", "-no-pie", "-Wl,--build-id=none", "-Wl,-z,noexecstack"]
    };
    for argument in arguments {
        command.arg("-C").arg(format!("link-arg={argument}"));
    }
    if let Some(linker) = linker {
        let mut option = OsString::from("linker=");
        option.push(linker);
        command.arg("-C").arg(option);
    }
    command.arg("-o").arg(out);
    let status = command.status().with_context(|| format!("cannot run the compiler: {command:?}"))?;
    ensure!(status.success(), "cannot build the {name} program ({status}): {command:?}");
    Ok(())
}

/// The linker for this target: cargo's setting, or the compiler's own choice.
fn linker(target: &str) -> Option<OsString> {
    let variable = format!("CARGO_TARGET_{}_LINKER", target.to_uppercase().replace(['-', '.'], "_"));
    println!("cargo::rerun-if-env-changed={variable}");
    env::var_os("RUSTC_LINKER").or_else(|| env::var_os(variable))
}

/// Whether it is a linker itself and not, as usual, a C compiler that runs one.
fn is_bare(linker: &OsStr) -> bool {
    let name = Path::new(linker).file_stem().and_then(OsStr::to_str).unwrap_or_default();
    name == "ld" || name.ends_with("-ld") || name.ends_with("lld")
}
