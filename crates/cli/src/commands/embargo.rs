//! `embargo show|set|history|test`: what may be sent where.

use crate::args::policy::{Embargo as Args, EmbargoTest, EmbargoVerb};
use crate::commands::Done;
use crate::desk;
use crate::output::Output;
use anyhow::Context as _;
use penstock_core::catalog::Product;
use penstock_core::desk::policy::{EmbargoAnswer, EmbargoVersionsAnswer};
use penstock_core::limits::ADMIN_JSON_BYTES_MAX;
use penstock_core::place::{Embargo, Place, Region, Ruling};
use serde::Serialize;
use std::io::Read as _;
use std::path::Path;
use std::process::ExitCode;

const PATH: &str = "/admin/v1/embargo";

/// What the policy says of a class at a place.
#[derive(Debug, Serialize)]
struct Tested {
    version: u64,
    class: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    region: Option<Region>,
    ruling: Ruling,
}

/// Does what the verb says.
pub(crate) fn run(args: Args, output: &Output) -> Done {
    match args.verb {
        EmbargoVerb::Show(args) => {
            let session = desk::connect(&args.desk)?;
            let version = args.version.map(|version| format!("?version={version}")).unwrap_or_default();
            let policy: Embargo = session.get(&format!("{PATH}{version}"))?;
            output.result(&policy, &text(&policy))?;
        }
        EmbargoVerb::Set(args) => {
            let policy = read(&args.file)?;
            let session = desk::connect(&args.desk)?;
            let answer: EmbargoAnswer = session.put(PATH, &policy)?;
            for warning in &answer.warnings {
                output.note(&format!("warning: {warning}"));
            }
            output.result(&answer, &text(&answer.embargo))?;
        }
        EmbargoVerb::History(args) => {
            let session = desk::connect(&args.desk)?;
            let mut all = EmbargoVersionsAnswer { versions: Vec::new(), next: None };
            let mut path = format!("{PATH}/versions");
            loop {
                let mut page: EmbargoVersionsAnswer = session.get(&path)?;
                all.versions.append(&mut page.versions);
                let Some(next) = page.next else { break };
                path = format!("{PATH}/versions?before={next}");
            }
            let lines =
                all.versions.iter().map(|row| format!("version {}: in force since {}", row.version, row.changed.0));
            let lines: Vec<String> = lines.collect();
            let text = if lines.is_empty() { "there never was a policy".to_owned() } else { lines.join("\n") };
            output.result(&all, &text)?;
        }
        EmbargoVerb::Test(args) => test(args, output)?,
    }
    Ok(ExitCode::SUCCESS)
}

fn read(path: &Path) -> anyhow::Result<Embargo> {
    let failed = || format!("cannot read {}", path.display());
    let file = std::fs::File::open(path).with_context(failed)?;
    let mut text = String::new();
    file.take(ADMIN_JSON_BYTES_MAX as u64).read_to_string(&mut text).with_context(failed)?;
    let policy: Embargo = serde_json::from_str(&text).with_context(|| format!("{} is no policy", path.display()))?;
    policy.check()?;
    Ok(policy)
}

fn test(args: EmbargoTest, output: &Output) -> anyhow::Result<()> {
    let session = desk::connect(&args.desk)?;
    let class = match (args.class, args.product) {
        (Some(class), _) => class,
        (None, Some(product)) => session.get::<Product>(&format!("/admin/v1/products/{product}"))?.export_class,
        (None, None) => String::new(),
    };
    let policy: Embargo = session.get(PATH)?;
    let ruling = policy.ruling(&class, args.region.map(Place).as_ref());
    let place = args.region.map_or_else(|| "at an unknown place".to_owned(), |region| format!("in {region}"));
    let text = format!("class {class:?} {place}: {} (policy version {})", word(ruling), policy.version);
    Ok(output.result(&Tested { version: policy.version, class, region: args.region, ruling }, &text)?)
}

const fn word(ruling: Ruling) -> &'static str {
    match ruling {
        Ruling::Allow => "allow",
        Ruling::Hold => "hold",
        Ruling::Deny => "deny",
    }
}

fn text(policy: &Embargo) -> String {
    if policy.classes.is_empty() {
        return format!("version {}: nothing is forbidden", policy.version);
    }
    let mut text = format!("version {}", policy.version);
    for (class, rules) in &policy.classes {
        let (elsewhere, unknown) = (word(rules.elsewhere), word(rules.unknown));
        text.push_str(&format!("\nclass {class:?}: {elsewhere} elsewhere, {unknown} where nobody knows the place"));
        for (region, ruling) in &rules.regions {
            text.push_str(&format!("\n  {region}: {}", word(*ruling)));
        }
    }
    text
}
