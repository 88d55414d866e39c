//! Which steps `test` and `full` run, in which order: cheap refusals first.

use crate::run::{Depth, Step};
use crate::steps::{cargo, deny, deploy, fuzz, linked, measure, pairs, quickstart, readme, schemas, slow};
use crate::{tidy, tools};

/// The checks of the tree itself.
pub const TIDY: Step = Step { name: "tidy", what: "arrows, docs, lengths, words, facts", run: tidy::step };

/// What CI runs.
#[must_use]
pub fn short() -> Vec<Step> {
    vec![
        Step { name: "tools", what: "the Debian packages that the checks drive", run: tools::ensure },
        Step { name: "fmt", what: "rustfmt has nothing to change", run: cargo::fmt },
        TIDY,
        Step { name: "deny", what: "bans, licences and sources of dependencies", run: deny::check },
        Step { name: "clippy", what: "no warnings in any target", run: cargo::clippy },
        Step { name: "tests", what: "unit and integration tests", run: cargo::tests },
        Step { name: "doctests", what: "examples in the documentation", run: cargo::doctests },
        Step { name: "docs", what: "the documentation builds without warnings", run: cargo::docs },
        Step { name: "release", what: "the release binary and the benches build", run: cargo::release },
        Step { name: "deploy", what: "systemd accepts the units, exposure is at most 1.5", run: deploy::check },
        Step {
            name: "quickstart",
            what: "publish, serve, install, update, verify in one command",
            run: quickstart::check,
        },
        Step { name: "readme", what: "every command in README.md", run: readme::check },
        Step { name: "schemas", what: "the admin API answers as /openapi.json says", run: schemas::check },
        Step { name: "pairs", what: "real version pairs: publish, pull, update, compare", run: pairs::check },
        Step { name: "slow", what: "slow peers are cut while others are served", run: slow::check },
        Step { name: "benches", what: "the measurements run (smoke sizes)", run: measure::smoke },
        Step { name: "fuzz", what: "each fuzz target for a while", run: fuzz::check },
    ]
}

/// The long form: the short plan at full depth, then the static binary, the soak, and the measurements with their
/// goals, the start with 100,000 blobs among them.
#[must_use]
pub fn full() -> Vec<Step> {
    let mut steps: Vec<Step> = short().into_iter().filter(|step| step.name != "benches").collect();
    steps.push(Step { name: "static", what: "the static binary builds and does the main job", run: linked::check });
    steps.push(Step {
        name: "soak",
        what: "load, reloads and new blobs for twenty minutes; memory stays flat",
        run: measure::soak,
    });
    steps.push(Step { name: "benches", what: "the measurements, against their goals", run: measure::gate });
    steps
}

/// What the tests are told: `PENSTOCK_FULL=1` asks for the full matrices.
#[must_use]
pub fn environment(depth: Depth) -> &'static [(&'static str, &'static str)] {
    match depth {
        Depth::Short => &[],
        Depth::Full => &[("PENSTOCK_FULL", "1")],
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_unique_in_each_plan() {
        for steps in [short(), full()] {
            let mut names: Vec<_> = steps.iter().map(|step| step.name).collect();
            names.sort_unstable();
            names.dedup();
            assert_eq!(names.len(), steps.len());
        }
    }
}
