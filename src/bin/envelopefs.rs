//! The `envelopefs` program, also called as `mount.envelopefs`.

use std::process::ExitCode;

fn main() -> ExitCode {
    envelopefs::cli::main()
}
