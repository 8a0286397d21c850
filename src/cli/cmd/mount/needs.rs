//! What a mount does besides reading and writing its volume, as its options and the environment tell before it is opened.

use std::ffi::OsStr;

use super::MountRequest;
use crate::cli::args::PassphraseFrom;
use crate::daemon::sandbox::Needs;
use crate::keys::{file, passphrase, pkcs11, rsa};
use crate::units::KeyUri;

/// Where a token's module, or a private key in a token, is named for all keys.
const MODULES: [&str; 2] = ["ENVELOPEFS_PKCS11_MODULE", "ENVELOPEFS_RSA_PRIVATE_KEY"];

pub(super) fn of(request: &MountRequest) -> Needs {
    let named = |name: &&str| std::env::var_os(name).is_some_and(|value| value != OsStr::new(""));
    let command = matches!(request.passphrase, PassphraseFrom::Command(_));
    Needs {
        handles: request.kernel.export,
        ..of_keys(&request.keys, MODULES.iter().any(named), command)
    }
}

/// Where no key is given, keys of any kind may come to the volume while it is mounted.
fn of_keys(given: &[KeyUri], module_named: bool, command: bool) -> Needs {
    let module = module_named || given.iter().any(may_be_in_a_token);
    Needs {
        programs: command || module,
        network: module || given.is_empty() || !given.iter().all(is_here),
        // Only who has mounted knows of a ring.
        ..Needs::default()
    }
}

/// It loads a module, whose vendor alone knows what it does.
fn may_be_in_a_token(uri: &KeyUri) -> bool {
    uri.scheme() == pkcs11::SCHEME
        || (uri.scheme() == rsa::SCHEME && uri.rest().contains(pkcs11::SCHEME))
}

fn is_here(uri: &KeyUri) -> bool {
    [file::SCHEME, passphrase::SCHEME, rsa::SCHEME].contains(&uri.scheme())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn needs(given: &[&str], module: bool, command: bool) -> (bool, bool) {
        let given: Vec<KeyUri> = given.iter().map(|uri| uri.parse().unwrap()).collect();
        let needs = of_keys(&given, module, command);
        (needs.programs, needs.network)
    }

    #[test]
    fn only_keys_that_are_given_say_that_no_network_is_needed() {
        assert_eq!(needs(&[], false, false), (false, true));
        assert_eq!(
            needs(&["file:///k", "passphrase:"], false, false),
            (false, false)
        );
        assert_eq!(
            needs(&["file:///k", "awskms:x"], false, false),
            (false, true)
        );
        assert_eq!(
            needs(&["rsa:/p?private-key=/k"], false, false),
            (false, false)
        );
    }

    #[test]
    fn modules_and_commands_run_programs() {
        assert_eq!(needs(&["file:///k"], true, false), (true, true));
        assert_eq!(needs(&["pkcs11:object=k"], false, false), (true, true));
        assert_eq!(
            needs(&["rsa:/p?private-key=pkcs11:object=k"], false, false),
            (true, true)
        );
        assert_eq!(needs(&["passphrase:"], false, true), (true, false));
    }
}
