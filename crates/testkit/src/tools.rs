//! Programs that end-to-end tests need: there, or a loud failure that says how to get them.

use std::process::{Command, Stdio};

/// Panics with the package's name unless `program --version` runs.
///
/// # Panics
/// When the program is missing: a test that skips itself proves nothing.
#[expect(clippy::panic, reason = "a missing tool must fail the test, loudly")]
pub fn require_tool(program: &str, debian_package: &str) {
    let ran = Command::new(program).arg("--version").stdout(Stdio::null()).stderr(Stdio::null()).status();
    if !ran.is_ok_and(|status| status.success()) {
        panic!(
            "this test needs `{program}`: run `apt-get install {debian_package}` (or `cargo xtask test`, which does)"
        );
    }
}
