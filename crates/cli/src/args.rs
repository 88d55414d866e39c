//! What may be typed: the whole command line, from raw text to checked values.
//!
//! Owns every flag, its help and its example. Names, sizes, durations and addresses become their
//! types here, so a command never sees text that could be wrong. Must not do anything.

pub(crate) mod access;
pub(crate) mod accounts;
pub(crate) mod desk;
pub(crate) mod install;
pub(crate) mod links;
pub(crate) mod node;
pub(crate) mod own;
pub(crate) mod people;
pub(crate) mod policy;
pub(crate) mod rollouts;
pub(crate) mod tools;
pub(crate) mod units;
pub(crate) mod whereto;

use clap::{Parser, Subcommand};

/// Delivers game patches: publishes builds, serves them, and brings installs up to date.
#[derive(Debug, Parser)]
#[command(
    name = "penstock",
    version,
    max_term_width = 110,
    after_help = "Exit codes: 0 done, 1 failed, 2 refused by policy (signature, entitlement, disk space), 64 bad usage.\n\n\
                  Example:\n  penstock quickstart --once        # a whole system on this machine, verified end to end"
)]
pub(crate) struct Cli {
    /// Print exactly one JSON document on stdout instead of text; nothing when the command fails, which stderr says.
    #[arg(long, global = true, help_heading = "Everywhere")]
    pub(crate) json: bool,
    /// No progress bars, even on a terminal.
    #[arg(long, short, global = true, help_heading = "Everywhere")]
    pub(crate) quiet: bool,
    /// What to do.
    #[command(subcommand)]
    pub(crate) command: Command,
}

/// Every command.
#[derive(Debug, Subcommand)]
pub(crate) enum Command {
    /// A whole system on this machine: publish, serve, install, update, verify.
    Quickstart(node::Quickstart),
    /// Run a node.
    Serve(node::Serve),
    /// Check a config file and name every problem with its line and key.
    CheckConfig(node::CheckConfig),
    /// Publisher signing keys.
    Key(tools::Key),
    /// Development tokens.
    Token(desk::Token),
    /// Links: URLs for tools that can send no header.
    Link(links::Link),
    /// Turn a build directory into a signed release.
    Publish(desk::Publish),
    /// Install a release, or update an install.
    Pull(install::Pull),
    /// Compare an install with its manifest; changes nothing.
    Verify(install::Verify),
    /// Compare an install with its manifest and mend what differs.
    Repair(install::Repair),
    /// Bring back the previous version that is kept on disk.
    Rollback(install::Rollback),
    /// Say what a blob, a manifest or an install is made of.
    Inspect(tools::Inspect),
    /// Blobs outside any release.
    Blob(desk::Blob),
    /// What a product's channels offer.
    Channel(desk::Channel),
    /// Products and who may read them.
    Product(desk::Product),
    /// Who may come.
    Account(accounts::Account),
    /// What accounts were given.
    Entitlement(accounts::Entitlement),
    /// Who may call the admin API, and in which role.
    Credential(access::Credential),
    /// Who changed what.
    Audit(access::Audit),
    /// What is given together.
    Package(people::Package),
    /// What a company's admin or a reseller does with a credential of its own.
    Own(own::Own),
    /// Published releases.
    Release(desk::Release),
    /// Tokens that are worth nothing any more.
    Revoke(policy::Revoke),
    /// What may be sent where.
    Embargo(policy::Embargo),
    /// Named groups of accounts and installs.
    Segment(policy::Segment),
    /// How a channel moves to a release, step by step.
    Rollout(rollouts::Rollout),
    /// Why a caller may or may not read something, step by step.
    Explain(desk::Explain),
    /// How many edges it takes to serve a patch in time.
    Plan(tools::Plan),
    /// Load a node from this machine and measure it.
    Bench(tools::Bench),
    /// Print a shell's completion script.
    Completions(tools::Completions),
    /// Write the manual pages.
    Man(tools::Man),
}

#[cfg(test)]
mod tests {
    use super::*;
    use clap::CommandFactory as _;

    #[test]
    fn the_definition_is_consistent() {
        Cli::command().debug_assert();
    }

    #[test]
    fn every_command_has_help_with_an_example() {
        fn visit(command: &clap::Command, path: &str) {
            let name = format!("{path} {}", command.get_name());
            let has_children = command.get_subcommands().any(|child| child.get_name() != "help");
            let after = command.get_after_help().map(ToString::to_string).unwrap_or_default();
            assert!(after.contains("Example"), "{name}: --help has no example");
            assert!(after.contains("penstock "), "{name}: the example does not show the command");
            assert!(command.get_about().is_some(), "{name}: no description");
            for argument in command.get_arguments().filter(|argument| argument.get_id() != "help") {
                assert!(argument.get_help().is_some(), "{name}: {} has no help", argument.get_id());
            }
            if has_children {
                for child in command.get_subcommands().filter(|child| child.get_name() != "help") {
                    visit(child, &name);
                }
            }
        }
        visit(&Cli::command(), "");
    }

    #[test]
    fn examples_in_the_help_parse() {
        fn examples(command: &clap::Command, out: &mut Vec<String>) {
            let after = command.get_after_help().map(ToString::to_string).unwrap_or_default();
            out.extend(after.lines().map(str::trim).filter(|line| line.starts_with("penstock ")).map(str::to_owned));
            for child in command.get_subcommands() {
                examples(child, out);
            }
        }
        let mut lines = Vec::new();
        examples(&Cli::command(), &mut lines);
        assert!(lines.len() > 30, "only {} examples found", lines.len());
        for line in lines {
            let words = line.split(" > ").next().and_then(|line| line.split(" #").next()).unwrap_or_default();
            let words = words.split_whitespace().map(|word| word.trim_matches('\''));
            if let Err(error) = Cli::try_parse_from(words) {
                panic!("the example does not parse: {line}\n{error}");
            }
        }
    }

    #[test]
    fn no_secret_can_be_an_argument() {
        fn visit(command: &clap::Command) {
            for argument in command.get_arguments() {
                let name = argument.get_id().as_str();
                let secret = name.contains("token") || name.contains("secret") || name.contains("password");
                assert!(!secret || name.ends_with("_file"), "{name} would put a secret on the command line");
            }
            command.get_subcommands().for_each(visit);
        }
        visit(&Cli::command());
    }
}
