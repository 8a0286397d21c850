//! The exit codes: one table. A number is never reused for another meaning; docs/CLI.md holds
//! the same table and a test holds the two together.

use std::fmt::Write as _;
use std::process::ExitCode;

use crate::units::Stability;

macro_rules! exit_codes {
    ($($variant:ident = $number:literal, $name:literal, $stability:ident, $meaning:literal;)*) => {
        /// What the process ends with.
        #[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
        #[repr(u8)]
        pub enum Exit {
            $(#[doc = concat!(stringify!($number), ": ", $meaning)] $variant = $number,)*
        }

        impl Exit {
            /// Every code, by ascending number.
            pub const ALL: &[Self] = &[$(Self::$variant,)*];

            /// The number that the shell sees.
            pub fn number(self) -> u8 {
                match self { $(Self::$variant => $number,)* }
            }

            /// A short name for documents and JSON.
            pub fn name(self) -> &'static str {
                match self { $(Self::$variant => $name,)* }
            }

            /// One line for a person.
            pub fn meaning(self) -> &'static str {
                match self { $(Self::$variant => $meaning,)* }
            }

            /// Whether scripts may rely on it.
            pub fn stability(self) -> Stability {
                match self { $(Self::$variant => Stability::$stability,)* }
            }
        }
    };
}

exit_codes! {
    Ok = 0, "ok", Stable, "the command did what it says";
    Failure = 1, "failure", Stable, "a failure that has no code of its own";
    Usage = 2, "usage", Stable, "the command line is wrong";
    NotAVolume = 10, "not-a-volume", Stable, "the ciphertext folder is missing or holds no volume";
    NewerVolume = 11, "newer-volume", Stable, "the volume or the store was made by a newer version of this program";
    KeyDenied = 12, "key-denied", Stable, "the key provider refused, or the key or passphrase is wrong";
    KeyUnavailable = 13, "key-unavailable", Stable, "the key provider cannot be reached";
    Mountpoint = 14, "mountpoint", Stable, "the mount point is missing, not an empty folder, in use, or inside the volume";
    VolumeInUse = 15, "volume-in-use", Stable, "another mount holds the volume";
    NoFuse = 16, "no-fuse", Stable, "FUSE is not available, or not to this user";
    MemoryNotLocked = 17, "memory-not-locked", Stable, "memory for keys cannot be locked";
    NotMounted = 18, "not-mounted", Stable, "no envelopefs is mounted there";
    Busy = 19, "busy", Stable, "the mount is in use";
    DamageFound = 20, "damage-found", Stable, "check found damage";
    DamagedVolume = 21, "damaged-volume", Stable, "the volume is damaged and cannot be opened";
    OutputExists = 22, "output-exists", Stable, "the output is there already";
    NoAnswer = 23, "no-answer", Provisional, "a mount is there and its process does not answer";
    Incomplete = 24, "incomplete", Stable, "a run over all files was cut short, or left some as they were: run it again";
    AuditBroken = 25, "audit-broken", Stable, "audit lines are not as they were written";
    SealBroken = 26, "seal-broken", Stable, "a sealed volume is not as it was sealed, or the seal that is required is not there";
    NoService = 30, "no-service", Stable, "the folder or the store holds no key service";
    ServiceExists = 31, "service-exists", Stable, "the folder or the store holds a key service already";
    StoreUnavailable = 32, "store-unavailable", Stable, "the key service's store does not answer";
    Refused = 33, "refused", Stable, "the key service refused: a parameter, a state or a limit does not allow it";
    NotFound = 34, "not-found", Stable, "there is no such key, version, alias, principal or access key";
    Listen = 35, "listen", Stable, "the address cannot be listened on";
    BackupUnusable = 36, "backup-unusable", Stable, "the file is no backup, or was changed";
    NotServing = 37, "not-serving", Stable, "no key service answers there, or not well";
}

/// The programs that end with these codes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Program {
    /// `envelopefs`
    Fs,
    /// `envelopekms`
    Kms,
}

impl Program {
    /// The codes that the program ends with, by ascending number.
    pub fn exits(self) -> impl Iterator<Item = Exit> {
        let all = Exit::ALL.iter().copied();
        all.filter(move |exit| match exit.number() {
            30.. => self == Self::Kms,
            10.. => self == Self::Fs || exit.is_shared(),
            _ => true,
        })
    }
}

impl Exit {
    /// Whether a code of volumes is one of the key service too.
    fn is_shared(self) -> bool {
        matches!(
            self,
            Self::KeyDenied
                | Self::KeyUnavailable
                | Self::MemoryNotLocked
                | Self::NewerVolume
                | Self::OutputExists
                | Self::AuditBroken
        )
    }

    /// The code with this number, if one is declared.
    pub fn from_number(number: u8) -> Option<Self> {
        Self::ALL
            .iter()
            .copied()
            .find(|exit| exit.number() == number)
    }
}

impl From<Exit> for ExitCode {
    fn from(exit: Exit) -> Self {
        Self::from(exit.number())
    }
}

/// The EXIT STATUS section of `--help`.
pub fn help_section(program: Program) -> String {
    let mut text = String::from("EXIT STATUS:\n");
    for exit in program.exits() {
        // Writing to a String cannot fail.
        let _ = writeln!(text, "  {:<4}{}", exit.number(), exit.meaning());
    }
    text.truncate(text.trim_end().len());
    text
}

/// The table of the program's document.
pub fn markdown_table(program: Program) -> String {
    let mut text = String::from("| code | name | stability | meaning |\n|---|---|---|---|\n");
    for exit in program.exits() {
        let (number, name, stability) = (exit.number(), exit.name(), exit.stability().as_str());
        // Writing to a String cannot fail.
        let _ = writeln!(
            text,
            "| {number} | `{name}` | {stability} | {} |",
            exit.meaning()
        );
    }
    text
}

#[cfg(test)]
mod tests {
    use std::collections::HashSet;

    use super::*;

    #[test]
    fn numbers_and_names_are_unique_and_ascend() {
        assert!(
            Exit::ALL
                .windows(2)
                .all(|pair| pair[0].number() < pair[1].number())
        );
        let names: HashSet<_> = Exit::ALL.iter().map(|exit| exit.name()).collect();
        assert_eq!(names.len(), Exit::ALL.len());
    }

    #[test]
    fn numbers_stay_below_what_shells_use_for_signals() {
        assert!(Exit::ALL.iter().all(|exit| exit.number() < 64));
    }

    #[test]
    fn a_number_finds_its_code_and_an_undeclared_one_none() {
        assert_eq!(Exit::from_number(18), Some(Exit::NotMounted));
        assert_eq!(Exit::from_number(3), None);
        assert_eq!(Exit::from_number(255), None);
    }

    #[test]
    fn help_names_every_code() {
        for program in [Program::Fs, Program::Kms] {
            let help = help_section(program);
            assert!(program.exits().all(|exit| help.contains(exit.meaning())));
        }
    }

    #[test]
    fn each_code_is_of_a_program_and_no_volume_s_code_of_the_key_service() {
        let has = |program: Program, exit| program.exits().any(|own| own == exit);
        assert!(
            Exit::ALL
                .iter()
                .all(|exit| has(Program::Fs, *exit) || has(Program::Kms, *exit))
        );
        assert!(!has(Program::Kms, Exit::NotMounted));
        assert!(!has(Program::Fs, Exit::NoService));
        assert!(has(Program::Kms, Exit::KeyDenied) && has(Program::Fs, Exit::KeyDenied));
    }
}
