//! The Debian packages that the checks drive: says which are missing, and installs them where it may. One tool is no package:
//! schemathesis, which the step `schemas` installs from PyPI, in versions that are written down.
//!
//! Nothing is built from source here: a tool that no package has is not used.

use crate::run::{Context, Tally};
use crate::{say, shell};
use anyhow::Result;
use std::process::Command;

/// A program that a check needs, and the Debian package that brings it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Tool {
    /// The program.
    pub program: &'static str,
    /// The package.
    pub package: &'static str,
}

/// Everything that the checks drive.
pub const TOOLS: [Tool; 13] = [
    Tool { program: "g++", package: "g++" },
    Tool { program: "curl", package: "curl" },
    Tool { program: "wget", package: "wget" },
    Tool { program: "aria2c", package: "aria2" },
    Tool { program: "slowhttptest", package: "slowhttptest" },
    Tool { program: "systemd-analyze", package: "systemd" },
    Tool { program: "python3", package: "python3" },
    Tool { program: "nginx", package: "nginx-light" },
    Tool { program: "wrk", package: "wrk" },
    Tool { program: "openssl", package: "openssl" },
    Tool { program: "ip", package: "iproute2" },
    Tool { program: "mkfs.ext4", package: "e2fsprogs" },
    // The server's own programs are not in the path; this one comes with every version of it.
    Tool { program: "pg_ctlcluster", package: "postgresql" },
];

/// Makes sure that the tools are there.
///
/// # Errors
/// When one is missing and cannot be installed; the message is the command that installs it.
pub fn ensure(_: &Context) -> Result<Tally> {
    let missing = missing(shell::has, python_has);
    if missing.is_empty() {
        return Ok(Tally::one().note("every tool is there"));
    }
    let install = format!("apt-get install --yes --no-install-recommends {}", missing.join(" "));
    if !(shell::has("apt-get") && is_root()?) {
        anyhow::bail!("these packages are missing; as root: {install} (the step schemas also fetches from PyPI, once)");
    }
    say::line(&format!("installing {}", missing.join(", ")));
    shell::quiet(Command::new("apt-get").args(["--quiet", "update"]))?;
    shell::must(
        Command::new("apt-get")
            .env("DEBIAN_FRONTEND", "noninteractive")
            .args(["--quiet", "install", "--yes", "--no-install-recommends"])
            .args(&missing),
    )?;
    Ok(Tally::one().note(format!("installed {}", missing.join(", "))))
}

/// Modules of Python that the checks use: with which interpreters, and the package that brings it.
const MODULES: [(&str, &[&str], &str); 3] = [
    // One of the tests' clients; they try both interpreters.
    ("requests", &["/usr/bin/python3", "python3"], "python3-requests"),
    // Fetches the real builds.
    ("pip", &["python3"], "python3-pip"),
    // Makes the environment that schemathesis is installed in.
    ("ensurepip", &["python3"], "python3-venv"),
];

fn missing(has: impl Fn(&str) -> bool, python_has: impl Fn(&[&str], &str) -> bool) -> Vec<&'static str> {
    let tools = TOOLS.iter().filter(|tool| !has(tool.program)).map(|tool| tool.package);
    let modules = MODULES.iter().filter(|(module, pythons, _)| !python_has(pythons, module));
    tools.chain(modules.map(|(_, _, package)| *package)).collect()
}

fn python_has(pythons: &[&str], module: &str) -> bool {
    pythons.iter().any(|python| {
        let asked = Command::new(python).args(["-c", &format!("import {module}")]).output();
        asked.is_ok_and(|output| output.status.success())
    })
}

fn is_root() -> Result<bool> {
    Ok(shell::stdout_of(Command::new("id").arg("-u"))?.trim() == "0")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_the_packages_of_absent_programs_only() {
        assert!(missing(|_| true, |_, _| true).is_empty());
        assert_eq!(
            missing(|program| program != "aria2c", |_, module| module != "requests"),
            ["aria2", "python3-requests"]
        );
    }
}
