//! Compiles the protocol files in pure Rust, so that a build needs no `protoc`.

use std::error::Error;
use std::path::PathBuf;
use std::{env, fs};

use prost_types::{FileDescriptorSet, ServiceDescriptorProto};
use protox::prost::Message as _;

const ISULA: [&str; 6] = [
    "isula.proto",
    "isula_exec.proto",
    "isula_files.proto",
    "isula_image.proto",
    "isula_network.proto",
    "isula_usage.proto",
];

fn main() -> Result<(), Box<dyn Error>> {
    println!("cargo::rerun-if-changed=proto");
    let isula = describe("isula.v1", &ISULA)?;
    tonic_prost_build::configure().compile_fds(isula)?;
    if env::var_os("CARGO_FEATURE_CRI").is_some() {
        let mut current = describe("runtime.v1", &["runtime_v1.proto"])?;
        undeprecate(&mut current);
        let with_clients = env::var_os("CARGO_FEATURE_CRI_CLIENTS").is_some();
        tonic_prost_build::configure().build_client(with_clients).compile_fds(current)?;
        let older = describe("runtime.v1alpha2", &["runtime_v1alpha2.proto"])?;
        write("runtime.v1alpha2.paths.rs", format!("&{:?}", paths(&older)))?;
    }
    Ok(())
}

/// Compiles the files of a package, and writes the parts of its module for reflection: `<package>.bin`, the descriptors
/// without comments, and `<package>.services.rs`, the full names of its services.
fn describe(package: &str, files: &[&str]) -> Result<FileDescriptorSet, Box<dyn Error>> {
    let commented = protox::compile(files, ["proto"])?;
    let mut plain = commented.clone();
    plain.file.iter_mut().for_each(|file| file.source_code_info = None);
    write(&format!("{package}.bin"), plain.encode_to_vec())?;
    let names: Vec<String> = services(&plain).map(|service| format!("{package}.{}", service.name())).collect();
    write(&format!("{package}.services.rs"), format!("&{names:?}"))?;
    Ok(commented)
}

fn services(set: &FileDescriptorSet) -> impl Iterator<Item = &ServiceDescriptorProto> {
    set.file.iter().flat_map(|file| &file.service)
}

/// Each method's path under the older name, and that of the same method in version 1.
fn paths(older: &FileDescriptorSet) -> Vec<(String, String)> {
    let of_service = |service: &ServiceDescriptorProto| {
        let path = |package: &str, method: &str| format!("/runtime.{package}.{}/{method}", service.name());
        let both = service.method.iter().map(|method| (path("v1alpha2", method.name()), path("v1", method.name())));
        both.collect::<Vec<_>>()
    };
    services(older).flat_map(of_service).collect()
}

/// Old kubelets send the deprecated fields, so reading them is no mistake for the compiler to warn of.
fn undeprecate(set: &mut FileDescriptorSet) {
    let messages = set.file.iter_mut().flat_map(|file| &mut file.message_type);
    messages.flat_map(|message| &mut message.field).filter_map(|field| field.options.as_mut()).for_each(|options| {
        options.deprecated = None;
    });
}

fn write(name: &str, content: impl AsRef<[u8]>) -> Result<(), Box<dyn Error>> {
    let directory = env::var_os("OUT_DIR").ok_or("Cargo sets OUT_DIR")?;
    Ok(fs::write(PathBuf::from(directory).join(name), content)?)
}
