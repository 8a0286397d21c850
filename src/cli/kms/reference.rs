//! The parts of docs/kms/CLI.md that are made from the declarations.

#[cfg(test)]
mod tests {
    use clap::CommandFactory as _;

    use crate::cli::exit::Program;
    use crate::cli::kms::args::Cli;
    use crate::cli::reference;

    /// `ENVELOPEFS_UPDATE_DOCS=1 cargo test --lib cli::kms::reference` writes the parts anew.
    #[test]
    fn the_document_says_what_the_program_declares() {
        let path = concat!(env!("CARGO_MANIFEST_DIR"), "/docs/kms/CLI.md");
        reference::hold(path, &reference::parts(&Cli::command(), Program::Kms));
    }
}
