//! The pages in docs/howto do what they say.

use crate::documents::{Unmounts, home, printed_by};
use crate::harness::require_root;

#[test]
fn the_page_about_nginx_does_what_it_says() {
    require_root();
    let home = home();
    let _unmounts = Unmounts(home.path().join("tls"));
    let page = include_str!("../../docs/howto/nginx.md");
    let printed = printed_by(page, 4, home.path());
    assert!(
        printed[0].contains("Nothing stands in the way")
            && printed[0].ends_with("cert.pem\nkey.pem\n"),
        "{printed:?}"
    );
    assert!(
        printed[1].contains("example.org") && printed[1].contains("Removed"),
        "{printed:?}"
    );
    assert!(
        printed[2].contains("Sealed") && printed[2].contains("read-only\n"),
        "{printed:?}"
    );
    assert!(
        printed[3].contains("Exported") && printed[3].contains("example.org"),
        "{printed:?}"
    );
}

#[test]
fn the_page_about_postgresql_does_what_it_says() {
    require_root();
    let home = home();
    let _unmounts = Unmounts(home.path().join("main"));
    let page = include_str!("../../docs/howto/postgresql.md");
    let printed = printed_by(page, 1, home.path());
    assert!(
        printed[0].contains("Imported") && printed[0].ends_with("17\n"),
        "{printed:?}"
    );
}

#[test]
fn the_page_about_containers_does_what_it_says() {
    require_root();
    let home = home();
    let _unmounts = Unmounts(home.path().join("app"));
    let page = include_str!("../../docs/howto/containers.md");
    let printed = printed_by(page, 1, home.path());
    assert!(printed[0].ends_with("database password\n"), "{printed:?}");
}

#[test]
fn the_page_about_kubernetes_runs_nothing() {
    let page = include_str!("../../docs/howto/kubernetes.md");
    assert!(page.contains("This page is a sketch") && !page.contains("```sh"));
}

#[test]
fn the_page_about_backups_does_what_it_says() {
    let home = home();
    let _unmounts = ["docs", "restored"].map(|mount| Unmounts(home.path().join(mount)));
    let page = include_str!("../../docs/howto/backup.md");
    let printed = printed_by(page, 5, home.path());
    assert!(printed[0].ends_with("locked\nof value\n"), "{printed:?}");
    assert!(
        printed[1].contains("0 damaged") && printed[1].ends_with("of value\n"),
        "{printed:?}"
    );
    assert!(
        printed[2].contains("version 2") || printed[2].contains(" 2 "),
        "{printed:?}"
    );
    assert!(printed[3].ends_with("of value\n"), "{printed:?}");
    assert!(printed[4].contains("0 damaged"), "{printed:?}");
}
