//! `package set|show|list|rm`: what is given together.

use crate::args::people::{Package as Args, PackageSet, PackageVerb};
use crate::commands::Done;
use crate::desk::{self, Session};
use crate::output::Output;
use anyhow::Context as _;
use penstock_core::account::Terms;
use penstock_core::desk::{Package, PackagesAnswer, PutPackage};
use penstock_core::id::PackageId;
use std::process::ExitCode;

/// Does what the verb says.
pub(crate) fn run(args: Args, output: &Output) -> Done {
    match args.verb {
        PackageVerb::Set(args) => {
            let wanted = wanted(&args)?;
            let session = desk::connect(&args.desk)?;
            one(&session.put(&path(&args.package), &wanted)?, output)
        }
        PackageVerb::Show(args) => {
            let session = desk::connect(&args.desk)?;
            one(&show(&session, &args.package)?, output)
        }
        PackageVerb::List(args) => {
            let session = desk::connect(&args.desk)?;
            let answer: PackagesAnswer = session.get("/admin/v1/packages")?;
            let lines: Vec<String> = answer.packages.iter().map(line).collect();
            let text = if lines.is_empty() { "no packages yet".to_owned() } else { lines.join("\n") };
            output.result(&answer, &text)?;
            Ok(ExitCode::SUCCESS)
        }
        PackageVerb::Rm(args) => {
            let session = desk::connect(&args.desk)?;
            one(&session.delete_for(&path(&args.package))?, output)
        }
    }
}

fn path(package: &PackageId) -> String {
    format!("/admin/v1/packages/{package}")
}

fn show(session: &Session, package: &PackageId) -> anyhow::Result<Package> {
    session.get(&path(package))
}

fn wanted(args: &PackageSet) -> anyhow::Result<PutPackage> {
    let mut items: Vec<Terms> = args.product.iter().cloned().map(Terms::of).collect();
    if let Some(file) = &args.items {
        let text = std::fs::read(file).with_context(|| format!("cannot read {}", file.display()))?;
        let more: Vec<Terms> =
            serde_json::from_slice(&text).with_context(|| format!("{} is no JSON list of terms", file.display()))?;
        items.extend(more);
    }
    Ok(PutPackage { title: args.title.clone(), items })
}

fn one(package: &Package, output: &Output) -> Done {
    output.result(package, &line(package))?;
    Ok(ExitCode::SUCCESS)
}

fn line(package: &Package) -> String {
    let products: Vec<&str> = package.items.iter().map(|terms| terms.product.as_str()).collect();
    format!("{}: {}, {}", package.id, package.title, products.join(" "))
}
