//! How a command fails: which exit code, and what is said on stderr.
//!
//! Exit codes are a contract: 1 failed, 2 refused by policy, 64 bad usage.

use std::process::ExitCode;

/// Something went wrong.
pub(crate) const FAILED: u8 = 1;
/// A rule says no: signature, entitlement, disk space, embargo.
pub(crate) const REFUSED: u8 = 2;
/// The command line makes no sense (`EX_USAGE` of sysexits).
pub(crate) const USAGE: u8 = 64;

/// Why a command did not do what it was asked.
#[derive(Debug)]
pub(crate) enum Failure {
    /// It could not.
    Failed(anyhow::Error),
    /// It must not.
    Refused(anyhow::Error),
    /// It was asked for something that makes no sense, which only showed after parsing.
    Usage(anyhow::Error),
}

impl Failure {
    /// The process's exit code.
    pub(crate) fn code(&self) -> ExitCode {
        ExitCode::from(match self {
            Self::Failed(_) => FAILED,
            Self::Refused(_) => REFUSED,
            Self::Usage(_) => USAGE,
        })
    }

    /// The whole chain of causes.
    pub(crate) const fn error(&self) -> &anyhow::Error {
        match self {
            Self::Failed(error) | Self::Refused(error) | Self::Usage(error) => error,
        }
    }

    /// A usage failure with a text.
    pub(crate) fn usage(text: impl Into<String>) -> Self {
        Self::Usage(anyhow::Error::msg(text.into()))
    }
}

impl<E: Into<anyhow::Error>> From<E> for Failure {
    fn from(error: E) -> Self {
        Self::Failed(error.into())
    }
}
