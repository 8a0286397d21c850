//! A volume whose key is at a KMIP server: PyKMIP's.

use crate::documents::Page;
use crate::harness::refuses;

const KEY_UNAVAILABLE: i32 = 13;
/// The port that the page has.
const PORT: &str = "5696";

#[test]
fn the_page_about_kmip_does_what_it_says() {
    let page = Page::new(include_str!("../../docs/keys/kmip.md"));
    let tools = &[("pykmip-server", "PyKMIP==0.11.0")];
    let reader = page.ports(&[PORT]).tools(tools).follow();
    reader.stop_servers();
    let mut mount = reader.envelopefs(&["mount", "kmip.enc", "kmip-files"]);
    for (name, file) in [
        ("CA", "ca.pem"),
        ("CERT", "client.pem"),
        ("KEY", "client.key"),
    ] {
        let file = reader.path("kmip").join(file);
        mount.env(format!("ENVELOPEFS_KMIP_{name}_FILE"), file);
    }
    let port = reader.with_ports(PORT);
    let words = [port.as_str(), "refuses connections"];
    refuses(&mut mount, KEY_UNAVAILABLE, &words);
}
