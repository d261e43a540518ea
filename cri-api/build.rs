//! Compiles the protocol files in pure Rust, so that a build needs no `protoc`.

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let mut files = vec![
        "isula.proto",
        "isula_exec.proto",
        "isula_files.proto",
        "isula_image.proto",
        "isula_network.proto",
        "isula_usage.proto",
    ];
    if std::env::var_os("CARGO_FEATURE_CRI").is_some() {
        files.extend(["runtime_v1.proto", "runtime_v1alpha2.proto"]);
    }
    tonic_prost_build::configure().compile_fds(protox::compile(files, ["proto"])?)?;
    println!("cargo::rerun-if-changed=proto");
    Ok(())
}
