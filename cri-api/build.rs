//! Compiles the protocol files in pure Rust, so that a build needs no `protoc`.

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let files = if std::env::var_os("CARGO_FEATURE_CRI").is_some() {
        &["isula.proto", "isula_image.proto", "runtime_v1.proto", "runtime_v1alpha2.proto"][..]
    } else {
        &["isula.proto", "isula_image.proto"]
    };
    tonic_prost_build::configure().compile_fds(protox::compile(files, ["proto"])?)?;
    println!("cargo::rerun-if-changed=proto");
    Ok(())
}
