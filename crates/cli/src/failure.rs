//! How a command fails: which exit code, and what is said on stderr.
//!
//! Exit codes are a contract: 1 failed, 2 refused by policy, 64 bad usage.

use penstock_publish::PublishError;
use penstock_publish::RegistryError;
use penstock_publish::remote::ClientError;
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
        let error = error.into();
        if error.chain().any(is_refusal) { Self::Refused(error) } else { Self::Failed(error) }
    }
}

/// Whether a cause is a rule that said no rather than something that broke. Where a node answered, its
/// status decides.
fn is_refusal(cause: &(dyn std::error::Error + 'static)) -> bool {
    if let Some(error) = cause.downcast_ref::<RegistryError>() {
        return match error {
            RegistryError::Refused { status, .. } => matches!(status, 401 | 403 | 451 | 507),
            RegistryError::Unreachable { .. } | RegistryError::Answer(_) | RegistryError::Content(_) => false,
        };
    }
    if let Some(error) = cause.downcast_ref::<PublishError>() {
        return matches!(error, PublishError::Publisher { .. });
    }
    matches!(cause.downcast_ref::<ClientError>(), Some(ClientError::InTheClear(_)))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn answered(status: u16, code: &str) -> anyhow::Error {
        let (code, title, detail) = (code.to_owned(), String::new(), String::new());
        anyhow::Error::from(RegistryError::Refused { status, code, title, detail }).context("cannot register")
    }

    #[test]
    fn a_rule_that_says_no_is_2_and_what_broke_is_1() {
        for (status, code) in [(401, "admin_credentials"), (507, "disk_full"), (403, "signature_refused")] {
            assert!(matches!(Failure::from(answered(status, code)), Failure::Refused(_)), "{status} {code}");
        }
        for (status, code) in [(400, "bad_request"), (404, "not_found"), (409, "conflict"), (500, "internal")] {
            assert!(matches!(Failure::from(answered(status, code)), Failure::Failed(_)), "{status} {code}");
        }
        let clear = ClientError::InTheClear("http://ops.example".to_owned());
        assert!(matches!(Failure::from(clear), Failure::Refused(_)));
        assert!(matches!(Failure::from(anyhow::anyhow!("broken")), Failure::Failed(_)));
    }
}
