//! The `envelopekms` program.

use std::process::ExitCode;

fn main() -> ExitCode {
    envelopefs::cli::kms::main()
}
