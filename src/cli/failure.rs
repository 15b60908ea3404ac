//! Why a command failed, and with which exit code.

/// Why a command failed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Failure {
    /// Exit code.
    pub(super) code: u8,
    /// For the user; empty when all is said.
    pub(super) text: String,
}

impl Failure {
    /// It was right to try, and did not work.
    #[must_use]
    pub const fn runtime(text: String) -> Self {
        Self { code: 1, text }
    }

    /// The command line, the environment or the configuration is wrong.
    #[must_use]
    pub const fn usage(text: String) -> Self {
        Self { code: 2, text }
    }
}
