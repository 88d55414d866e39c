//! `publish`: a build directory becomes a signed release on a node.

use crate::args::desk::{ComponentFiles, Publish};
use crate::commands::product::access;
use crate::commands::{Done, now};
use crate::desk;
use crate::failure::Failure;
use crate::output::Output;
use crate::progress::Bar;
use crate::words::{bytes, count, platform, share, time};
use penstock_core::api::PutProduct;
use penstock_core::catalog::{AccessClass, Product};
use penstock_core::id::{AccessGroup, ComponentName, ProductId};
use penstock_publish::{ComponentRule, OtherKeys, PublishReport, PublishRequest, keyfile};
use std::process::ExitCode;
use std::time::Duration;

/// Publishes, and offers when a channel is named.
pub(crate) fn run(args: Publish, output: &Output) -> Done {
    let components = rules(&args)?;
    let key = keyfile::load(&args.key)?;
    let session = desk::connect_or_make(&args.desk, output)?;
    let product = ensure_product(&session, &args.product, args.access.map_or(AccessClass::Licensed, Into::into))?;
    if let Some(wanted) = args.access.map(AccessClass::from).filter(|wanted| *wanted != product.access) {
        let (is, wanted) = (access(product.access), access(wanted));
        let how = format!("penstock product set {} --access {wanted}", product.id);
        return Err(Failure::usage(format!(
            "product {} is {is}, not {wanted}: to change that, run `{how}`",
            product.id
        )));
    }
    if product.access != AccessClass::Open {
        let how = match product.access {
            AccessClass::Registered => "`penstock account add A` lets account A in".to_owned(),
            _ => format!("`penstock entitlement add --account A --product {}` gives it to account A", product.id),
        };
        output.note(&format!("product {} is {}: {how}", product.id, access(product.access)));
    }
    let request = PublishRequest {
        components,
        launch: args.launch,
        channel: args.channel,
        level: args.level,
        other_keys: if args.keep_channel_keys { OtherKeys::Keep } else { OtherKeys::Drop },
        ..PublishRequest::new(args.dir, args.product, args.version, args.platform, vec![key], now())
    };
    let report = penstock_publish::publish(request, session.registry(), &Bar::new(*output))?;
    output.result(&report, &text(&report))?;
    Ok(ExitCode::SUCCESS)
}

/// The components as the flags describe them together.
fn rules(args: &Publish) -> Result<Vec<ComponentRule>, Failure> {
    let is_there = |name: &ComponentName| args.component.iter().any(|files| files.name == *name);
    let named = args.optional.iter().chain(args.group.iter().map(|group| &group.name));
    if let Some(stray) = named.into_iter().find(|name| !is_there(name)) {
        return Err(Failure::usage(format!(
            "there is no component {stray}: name its files with --component '{stray}=PATTERN'"
        )));
    }
    let group_of = |name: &ComponentName| args.group.iter().find(|group| group.name == *name);
    let rule = |files: &ComponentFiles| ComponentRule {
        name: files.name.clone(),
        pattern: files.pattern.clone(),
        group: group_of(&files.name).map_or_else(AccessGroup::base, |given| given.group.clone()),
        optional: args.optional.contains(&files.name),
    };
    Ok(args.component.iter().map(rule).collect())
}

/// Makes the product unless it is there; one that is there keeps its access class.
pub(crate) fn ensure_product(
    session: &desk::Session,
    product: &ProductId,
    access: AccessClass,
) -> anyhow::Result<Product> {
    match session.registry().signing(product) {
        Ok(_) => session.get(&format!("/admin/v1/products/{product}")),
        Err(error) if error.is_not_found() => {
            let wanted = PutProduct { id: product.clone(), title: String::new(), access, export_class: String::new() };
            session.put_product(&wanted)
        }
        Err(error) => Err(error.into()),
    }
}

fn text(report: &PublishReport) -> String {
    let name = format!("{} {} for {}", report.product, report.version, platform(&report.platform));
    let mut text = if report.already_published {
        format!("{name} was published already, with this very content")
    } else {
        format!(
            "{name}: {} of {}; {} new, stored as {} ({}) in {}; sent {} in {}",
            count(report.files, "file"),
            bytes(report.content_bytes),
            bytes(report.new_content_bytes),
            bytes(report.new_stored_bytes),
            share(report.new_stored_bytes, report.new_content_bytes),
            count(report.packs, "pack"),
            bytes(report.uploaded_bytes),
            time(Duration::try_from_secs_f64(report.seconds).unwrap_or_default()),
        )
    };
    match &report.channel {
        Some(channel) => text.push_str(&format!("\nchannel {channel} offers it")),
        None => text.push_str("\nno channel offers it yet: see `penstock channel set`"),
    }
    text
}
