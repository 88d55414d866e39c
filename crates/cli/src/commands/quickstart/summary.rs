//! What the quickstart says at its end: sizes, rates, and the commands to try next.

use super::Walked;
use super::builds::Builds;
use super::document::Document;
use super::layout::Layout;
use crate::words::{bytes, count, rate, share, time};
use penstock_client::PullReport;
use penstock_publish::PublishReport;
use serde::Serialize;
use std::path::PathBuf;
use std::time::Duration;

/// The result document of `quickstart --json`.
#[derive(Debug, Serialize)]
pub(crate) struct Summary {
    verified: bool,
    files: u64,
    bytes: u64,
    builds: [PathBuf; 2],
    published: [PublishReport; 2],
    install: PullReport,
    update: PullReport,
    seconds: f64,
    #[serde(flatten)]
    quickstart: Document,
}

impl Summary {
    /// Everything compared equal, or there would be no summary.
    pub(crate) fn new(quickstart: &Document, builds: &Builds, done: Walked, took: Duration) -> Self {
        Self {
            verified: done.compared.differences.is_empty(),
            files: done.compared.files,
            bytes: done.compared.bytes,
            builds: builds.dirs.clone(),
            published: done.published,
            install: done.install,
            update: done.update,
            seconds: took.as_secs_f64(),
            quickstart: quickstart.clone(),
        }
    }

    /// The same for people.
    pub(crate) fn text(&self, layout: &Layout, ends: bool) -> String {
        let mut text = format!(
            "{} was published in two versions, installed over HTTPS and updated; {} ({}) equal the build byte for byte.\n\n",
            self.quickstart.product,
            count(self.files, "file"),
            bytes(self.bytes),
        );
        for report in &self.published {
            text.push_str(&published_line(report));
        }
        text.push_str(&pulled_line("install", &self.install));
        text.push_str(&pulled_line("update", &self.update));
        let (full, update) = (self.install.downloaded_bytes, self.update.downloaded_bytes);
        text.push_str(&format!(
            "\nThe update fetched {}: {} of the {} that a full download takes. All of it took {}.\n",
            bytes(update),
            share(update, full),
            bytes(full),
            time(seconds(self.seconds)),
        ));
        if ends {
            text.push_str(&format!(
                "\nRun it again without --once to serve: {} quickstart --dir {}\n",
                program(),
                layout.root().display()
            ));
        } else {
            text.push_str(&self.next(layout));
        }
        text
    }

    fn next(&self, layout: &Layout) -> String {
        let Document { https_url, ca_cert, trust, product, data_dir, .. } = &self.quickstart;
        let (ca, data) = (ca_cert.display(), data_dir.display());
        let (install, penstock) = (layout.install(), program());
        format!(
            "\nServing on {https_url} until you stop it (Ctrl-C); what a script needs is in {}.\nTry:\n  \
             {penstock} pull --from {https_url} --ca {ca} --product {product} --trust {trust} --into ./my-install\n  \
             {penstock} verify {}\n  \
             {penstock} rollback {}\n  \
             {penstock} release list {product} --to {data}\n  \
             curl --cacert {ca} {https_url}/v1/products/{product}/channels/{}\n",
            layout.root().join(super::document::FILE_NAME).display(),
            install.display(),
            install.display(),
            self.quickstart.channel,
        )
    }
}

fn published_line(report: &PublishReport) -> String {
    let took = seconds(report.seconds);
    if report.already_published {
        return format!("  publish {}   was there already, checked in {}\n", report.version, time(took));
    }
    format!(
        "  publish {}   {} in {}: {} new, stored as {} ({}) in {}, {}\n",
        report.version,
        bytes(report.content_bytes),
        count(report.files, "file"),
        bytes(report.new_content_bytes),
        bytes(report.new_stored_bytes),
        share(report.new_stored_bytes, report.new_content_bytes),
        time(took),
        rate(report.content_bytes, took),
    )
}

fn pulled_line(what: &str, report: &PullReport) -> String {
    let took = seconds(report.seconds);
    format!(
        "  {what:<7} {}   fetched {}, took {} from disk, wrote {} in {}, {}\n",
        report.to,
        bytes(report.downloaded_bytes),
        bytes(report.reused_bytes),
        bytes(report.written_bytes),
        time(took),
        rate(report.written_bytes, took),
    )
}

/// This program as it can be typed here: by its name where that is found, else by its path.
fn program() -> String {
    let name = env!("CARGO_BIN_NAME");
    let Ok(this) = std::env::current_exe() else { return name.to_owned() };
    let on_path = std::env::var_os("PATH").is_some_and(|path| {
        std::env::split_paths(&path).any(|dir| dir.join(name).canonicalize().is_ok_and(|found| found == this))
    });
    if on_path {
        return name.to_owned();
    }
    let here = std::env::current_dir().ok();
    let short = here.as_deref().and_then(|here| this.strip_prefix(here).ok()).unwrap_or(&this);
    short.display().to_string()
}

fn seconds(seconds: f64) -> Duration {
    Duration::try_from_secs_f64(seconds).unwrap_or_default()
}
