//! Writes what a package needs beside the programs, made from their declarations, into a folder:
//! `man/` with a page for every command, `completions/` for bash, zsh and fish.
//!
//! `cargo run --example manuals FOLDER`; `SOURCE_DATE_EPOCH` sets the date of the pages.

mod pages;
mod written;

use std::error::Error;
use std::fs;
use std::path::{Path, PathBuf};

use clap::{Command, CommandFactory as _};
use clap_complete::Shell;
use clap_complete::shells::{Bash, Fish, Zsh};
use jiff::Timestamp;

fn main() -> Result<(), Box<dyn Error>> {
    let folder: PathBuf = std::env::args_os()
        .nth(1)
        .ok_or("which folder? `manuals FOLDER`")?
        .into();
    let man = folder.join("man");
    fs::create_dir_all(&man)?;
    for page in pages::all(&date()?)? {
        fs::write(man.join(page.file), page.text)?;
    }
    let programs = [
        envelopefs::cli::args::Cli::command(),
        envelopefs::cli::kms::args::Cli::command(),
    ];
    for mut program in programs {
        complete(&mut program, &folder.join("completions"))?;
    }
    Ok(())
}

/// The day that the pages are of.
fn date() -> Result<String, Box<dyn Error>> {
    let time = match std::env::var("SOURCE_DATE_EPOCH") {
        Ok(seconds) => Timestamp::from_second(seconds.parse()?)?,
        Err(_unset) => Timestamp::now(),
    };
    Ok(time.strftime("%Y-%m-%d").to_string())
}

fn complete(program: &mut Command, folder: &Path) -> Result<(), Box<dyn Error>> {
    let name = program.get_name().to_owned();
    let shells = [
        (Shell::Bash, "bash", name.clone()),
        (Shell::Zsh, "zsh", format!("_{name}")),
        (Shell::Fish, "fish", format!("{name}.fish")),
    ];
    for (shell, place, file) in shells {
        let mut text = Vec::new();
        match shell {
            Shell::Zsh => clap_complete::generate(Zsh, program, &name, &mut text),
            Shell::Fish => clap_complete::generate(Fish, program, &name, &mut text),
            _ => clap_complete::generate(Bash, program, &name, &mut text),
        }
        fs::create_dir_all(folder.join(place))?;
        fs::write(folder.join(place).join(file), text)?;
    }
    Ok(())
}
