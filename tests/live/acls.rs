//! POSIX ACLs with `--acl`: enforced, handed down and masked as on the file system beneath; without it not to be had.

use crate::harness::{Mount, Volume, require_root, same_as_beneath, shell, shell_as_nobody};

/// `nobody "COMMAND"` runs it as the user nobody without groups; `as GROUP "COMMAND"` with a supplementary one.
const AS_OTHERS: &str = r#"
    umask 022
    nobody() { setpriv --reuid 65534 --regid 65534 --clear-groups bash -c "$1" 2>&1 || echo "refused"; }
    member() { setpriv --reuid 65534 --regid 65534 --groups "$1" bash -c "$2" 2>&1 || echo "refused"; }
"#;

fn with_acls(volume: &Volume) -> Mount<'_> {
    require_root();
    volume.mount_with(&["--allow-other", "--acl"])
}

fn compared(script: &str) -> String {
    let said = ["encrypted", "plain"].map(|names| {
        let volume = Volume::create(&["--names", names]);
        let mount = with_acls(&volume);
        same_as_beneath(&mount, &format!("{AS_OTHERS}{script}"))
    });
    assert_eq!(said[0], said[1]);
    said.into_iter().next().unwrap_or_default()
}

#[test]
fn a_default_acl_is_handed_down_in_the_umasks_place() {
    let said = compared(
        r#"
        mkdir d; setfacl -d -m u:12346:rwx,g::r-x,o::- d; chmod 777 d
        nobody 'umask 077; echo x > d/file; mkdir d/folder; mkdir -m 0500 d/low; mkfifo d/pipe; ln -s x d/link; mknod d/node p
            umask 0; echo > d/open; mkdir -m 0277 d/closed'
        stat -c '%n %a %u' d d/*
        getfacl -cpn d/file d/folder d/low d/pipe d/open d/closed"#,
    );
    assert!(said.contains("d/file 660 65534\n"), "{said}");
    assert!(said.contains("user:12346:rwx\t#effective:rw-\n"), "{said}");
}

#[test]
fn a_default_acl_that_leaves_the_owner_little_is_kept() {
    compared(
        r#"
        mkdir d; setfacl -d -m u::r-x,u:12346:rwx,g::-,o::r d; chmod 2777 d
        mkdir d/roots; nobody 'mkdir d/nobodys; echo > d/file'
        stat -c '%n %a' d/*; getfacl -cpn d/*"#,
    );
}

#[test]
fn without_a_default_acl_the_umask_counts() {
    let said = compared(
        r#"
        mkdir d; chmod 777 d; setfacl -m u:12346:rwx d
        nobody 'umask 027; echo > d/file; mkdir d/folder; mkfifo d/pipe'
        (umask 0; echo > d/open; mkdir -m 1777 d/sticky)
        stat -c '%n %a' d/*"#,
    );
    assert!(
        said.contains("d/file 640\n") && said.contains("d/folder 750\n"),
        "{said}"
    );
}

#[test]
fn acls_let_in_and_keep_out_whom_they_name() {
    let said = compared(
        r#"
        echo secret > s; chmod 600 s
        nobody 'cat s'; setfacl -m u:65534:r s; nobody 'cat s'; nobody 'echo x >> s'; stat -c %a s
        mkdir x; chmod 700 x; echo in > x/in
        nobody 'cat x/in'; setfacl -m u:65534:rx x; nobody 'cat x/in; ls x; touch x/new'
        setfacl -m m::- x; nobody 'ls x'; setfacl -m m::rwx,u:65534:rwx x; nobody 'touch x/new; ls x'
        echo g > g; chmod 640 g; setfacl -m g:7:rw g; member 7 'cat g; echo more >> g'; member 8 'cat g'; cat g
        chmod 666 g; setfacl -m u:65534:- g; nobody 'cat g'; member 7 'cat g'"#,
    );
    assert_eq!(said.matches("refused").count(), 8, "{said}");
}

#[test]
fn chmod_changes_the_mask_and_an_acl_the_mode_at_once() {
    let said = compared(
        r#"
        echo > f; chmod 600 f; stat -c %a f; setfacl -m u:12346:rwx f; stat -c %a f
        chmod 640 f; getfacl -cpn f; chmod 000 f; getfacl -cpn f
        setfacl -m m::r f; stat -c %a f; setfacl -x u:12346 f; getfacl -cpn f; setfacl -b f; stat -c %a f; getfacl -cpn f
        mkdir d; setfacl -d -m u:1:rwx d; getfacl -cpn d; setfacl -k d; getfacl -cpn d; getfattr -m - d
        setfacl -d -m u:1:rwx f 2>&1 || echo refused; nobody 'setfacl -m u:65534:rwx f'"#,
    );
    assert!(said.contains("#effective:r--"), "{said}");
}

#[test]
fn an_acl_takes_the_set_gid_bit_from_whom_is_not_in_the_group() {
    let said = compared(
        r#"
        echo > f; chown 65534:7 f
        chmod 2755 f; nobody 'setfacl -m u:1:rw f'; stat -c %a f
        chmod 2755 f; member 8 'setfacl -m u:1:r f'; stat -c %a f
        chmod 2755 f; member 7 'setfacl -m u:1:rwx f'; stat -c %a f
        chmod 2755 f; setfacl -m u:1:rwx f; stat -c %a f
        chmod 755 f; nobody 'chmod 2755 f'; stat -c %a f; member 7 'chmod 2755 f'; stat -c %a f"#,
    );
    assert_eq!(said, "775\n755\n2775\n2775\n755\n2755\n");
}

#[test]
fn acls_are_there_after_a_new_mount_and_decide() {
    let volume = Volume::create(&[]);
    let mount = with_acls(&volume);
    shell(
        mount.root(),
        "chmod 755 .; echo secret > s; chmod 600 s; setfacl -m u:65534:r s; echo closed > c; chmod 644 c; setfacl -m u:65534:- c",
    );
    let mount = mount.again_with(&["-o", "allow_other,acl"]);
    let tried = "cat s; if cat c 2>/dev/null; then exit 9; fi";
    assert_eq!(shell_as_nobody(mount.root(), tried), "secret\n");
}

#[test]
fn without_the_option_no_acl_can_be_set_and_copies_go_without() {
    let volume = Volume::create(&[]);
    let mount = with_acls(&volume);
    shell(
        mount.root(),
        "echo > had; setfacl -m u:12346:r had; mkdir d",
    );
    let mount = mount.again_with(&["--allow-other"]);
    let tried = r#"
        echo > new
        for file in had new d; do if setfacl -m u:1:r $file 2>/dev/null; then exit 9; fi; done
        if setfacl -d -m u:1:r d 2>/dev/null; then exit 9; fi
        cp had copied; getfacl -cpn had | grep 12346; getfacl -cpn copied; setfattr -x system.posix_acl_access had; getfacl -cpn had"#;
    let said = shell(mount.root(), tried);
    assert!(said.starts_with("user:12346:r--\nuser::rw-\n"), "{said}");
    assert_eq!(said.matches("12346").count(), 1, "{said}");
}
