//! `key new`, `key show`: publisher signing keys.

use crate::args::tools::{Key, KeyVerb};
use crate::commands::Done;
use crate::output::Output;
use penstock_publish::keyfile;
use serde::Serialize;
use std::path::PathBuf;
use std::process::ExitCode;

#[derive(Serialize)]
struct Document {
    public_key: String,
    file: PathBuf,
}

/// Makes or shows a key.
pub(crate) fn run(args: Key, output: &Output) -> Done {
    let (file, key) = match args.verb {
        KeyVerb::New(args) => {
            let key = keyfile::generate(&args.out)?;
            (args.out, key)
        }
        KeyVerb::Show(args) => {
            let key = keyfile::load(&args.file)?;
            (args.file, key)
        }
    };
    let public_key = key.public().to_string();
    output.result(&Document { public_key: public_key.clone(), file: std::path::absolute(file)? }, &public_key)?;
    Ok(ExitCode::SUCCESS)
}
