//! `link new`, `link key`.

use crate::args::links::{Link as Args, LinkVerb};
use crate::commands::Done;
use crate::desk;
use crate::output::Output;
use penstock_core::link::{LinkAnswer, LinkKeyAnswer, PostLink};
use std::process::ExitCode;

/// Prints the link: on stdout, because it was asked for, and nowhere else.
pub(crate) fn run(args: Args, output: &Output) -> Done {
    match args.verb {
        LinkVerb::New(args) => {
            let session = desk::connect(&args.desk)?;
            let wanted = PostLink {
                account: args.account,
                path: args.path,
                product: args.product,
                ttl_seconds: args.ttl.0.as_secs(),
            };
            let mut answer: LinkAnswer = session.post("/admin/v1/links", &wanted)?;
            if let Some(edge) = args.edge {
                answer.target.insert_str(0, edge.trim_end_matches('/'));
            }
            output.result(&answer, &answer.target)?;
            output
                .note(&format!("take it back with: penstock revoke add --id {} --issuer {}", answer.id, answer.issuer));
        }
        LinkVerb::Key(args) => {
            let session = desk::connect(&args.desk)?;
            let answer: LinkKeyAnswer = session.get("/admin/v1/links/key")?;
            output.result(&answer, &answer.key.to_string())?;
        }
    }
    Ok(ExitCode::SUCCESS)
}
