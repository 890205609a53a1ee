//! Compiles the proto files with protox, so that nobody needs protoc.

/// Source: `google.protobuf.FieldDescriptorProto.Type`.
const TYPE_BYTES: i32 = 12;

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let files = ["record", "outcome", "topology"].map(|name| format!("proto/millpond/v1/{name}.proto"));
    println!("cargo::rerun-if-changed=proto");
    let mut set = protox::compile(files, ["proto"])?;
    let messages = set.file.iter_mut().flat_map(|file| &mut file.message_type);
    for put in messages.filter(|message| message.name() == "Put") {
        for field in put.field.iter_mut().filter(|field| field.name() == "content_type") {
            // The same on the wire; as bytes it becomes a slice of what is read. `wire::record` checks that it is text.
            field.r#type = Some(TYPE_BYTES);
        }
    }
    prost_build::Config::new().bytes(["."]).compile_fds(set)?;
    Ok(())
}
