//! Compiles the proto files with protox, so that nobody needs protoc.

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let files = ["record", "outcome", "topology"].map(|name| format!("proto/millpond/v1/{name}.proto"));
    println!("cargo::rerun-if-changed=proto");
    prost_build::Config::new().bytes(["."]).compile_fds(protox::compile(files, ["proto"])?)?;
    Ok(())
}
