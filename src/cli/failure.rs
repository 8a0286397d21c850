//! What a command that failed tells the user: what failed, why, and what to do about it.

use std::fmt;

use super::exit::Exit;

/// A command's failure, ready to be printed: `envelopefs: WHAT: WHY`, then a line of advice.
///
/// Holds no secret: `why` comes from error messages, which carry none.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Failure {
    exit: Exit,
    what: String,
    why: String,
    advice: Option<String>,
}

impl Failure {
    /// A failure of `what` (an action and its object), because of `why`.
    pub fn new(exit: Exit, what: impl Into<String>, why: impl fmt::Display) -> Self {
        Self {
            exit,
            what: what.into(),
            why: why.to_string(),
            advice: None,
        }
    }

    /// A failure that another process has put into words already; printed as it is.
    pub fn reported(exit: Exit, message: String) -> Self {
        Self {
            exit,
            what: String::new(),
            why: message,
            advice: None,
        }
    }

    /// A command line that cannot be followed.
    pub fn usage(what: impl Into<String>, why: impl fmt::Display) -> Self {
        Self::new(Exit::Usage, what, why).advise("see `--help`")
    }

    /// Adds what the user can do about it; replaces earlier advice.
    #[must_use]
    pub fn advise(mut self, advice: impl Into<String>) -> Self {
        self.advice = Some(advice.into());
        self
    }

    /// The same, told by another program than `envelopefs`.
    pub fn said_by(&self, program: &'static str) -> impl fmt::Display {
        SaidBy {
            failure: self.clone(),
            program,
        }
    }

    /// The code to exit with.
    pub fn exit(&self) -> Exit {
        self.exit
    }
}

impl fmt::Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.said_by("envelopefs").fmt(f)
    }
}

/// A failure, and the program that tells it.
struct SaidBy {
    failure: Failure,
    program: &'static str,
}

impl fmt::Display for SaidBy {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Failure {
            what, why, advice, ..
        } = &self.failure;
        if what.is_empty() {
            return f.write_str(why);
        }
        write!(f, "{}: {what}: {why}", self.program)?;
        match advice {
            Some(advice) => write!(f, "\n  → {advice}"),
            None => Ok(()),
        }
    }
}

impl std::error::Error for Failure {}

/// An error with all its sources on one line, outermost first: for `why`.
pub fn chain(error: &(dyn std::error::Error + 'static)) -> String {
    let mut text = error.to_string();
    let mut source = error.source();
    while let Some(inner) = source {
        let said = inner.to_string();
        // Many errors print their source themselves; saying it twice helps nobody.
        if !text.contains(&said) {
            text.push_str(": ");
            text.push_str(&said);
        }
        source = inner.source();
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[derive(Debug, thiserror::Error)]
    #[error("outer")]
    struct Outer(#[source] Inner);

    #[derive(Debug, thiserror::Error)]
    #[error("inner")]
    struct Inner;

    #[test]
    fn prints_what_why_and_advice() {
        let failure = Failure::new(Exit::Busy, "cannot unmount /m", "in use").advise("close files");
        assert_eq!(
            failure.to_string(),
            "envelopefs: cannot unmount /m: in use\n  → close files"
        );
        assert_eq!(failure.exit(), Exit::Busy);
    }

    #[test]
    fn prints_one_line_where_there_is_no_advice() {
        assert_eq!(
            Failure::new(Exit::Failure, "a", "b").to_string(),
            "envelopefs: a: b"
        );
    }

    #[test]
    fn a_chain_names_every_source_once() {
        assert_eq!(chain(&Outer(Inner)), "outer: inner");
        let io = std::io::Error::other("disk");
        assert_eq!(chain(&io), "disk");
    }
}
