use super::*;
use crate::keys::error::KeyErrorKind;

fn uri(rest: &str) -> KeyUri {
    format!("pkcs11:{rest}").parse().unwrap()
}

fn canonical(rest: &str) -> String {
    given(&uri(rest)).unwrap().0.to_string()
}

#[test]
fn the_rfc_s_examples_of_keys_are_read() {
    for (rest, stored) in [
        (
            "token=The%20Software%20PKCS%2311%20Softtoken;manufacturer=Snake%20Oil,%20Inc.;model=1.0;object=my-certificate;type=private;id=%69%95%3E%5C%F4%BD%EC%91;serial=",
            "pkcs11:token=The%20Software%20PKCS%2311%20Softtoken;serial=;manufacturer=Snake%20Oil,%20Inc.;model=1.0;object=my-certificate;id=i%95%3E%5C%F4%BD%EC%91;type=private",
        ),
        (
            "object=my-sign-key;type=private?pin-source=file:/etc/token",
            "pkcs11:object=my-sign-key;type=private",
        ),
        (
            "slot-description=Sun%20Metaslot;object=k",
            "pkcs11:slot-description=Sun%20Metaslot;object=k",
        ),
        (
            "library-manufacturer=Snake%20Oil,%20Inc.;library-description=Soft%20Token%20Library;library-version=1.23;object=k",
            "pkcs11:library-description=Soft%20Token%20Library;library-manufacturer=Snake%20Oil,%20Inc.;library-version=1.23;object=k",
        ),
        (
            "slot-id=327;slot-manufacturer=x;object=k?pin-source=/etc/pin",
            "pkcs11:slot-id=327;slot-manufacturer=x;object=k",
        ),
    ] {
        assert_eq!(canonical(rest), stored);
        assert_eq!(canonical(stored.strip_prefix("pkcs11:").unwrap()), stored);
        assert!(KeyPath::stored(&stored.parse().unwrap()).is_ok());
    }
}

#[test]
fn one_key_has_one_uri_whatever_the_order_and_the_escapes() {
    let expected = "pkcs11:token=a%3Bb;object=k%2Fey;id=%00A";
    for rest in [
        "token=a%3bb;object=k%2fey;id=%00%41",
        "id=%00A;object=k%2Fe%79;token=%61%3Bb",
        "object=k%2Fey;token=a%3Bb;id=%00%41?x-vendor=1&module-path=/m.so",
    ] {
        assert_eq!(canonical(rest), expected, "{rest}");
    }
}

#[test]
fn the_query_is_this_machine_s() {
    let (_uri, machine) = given(&uri(
        "object=k?module-path=/usr/lib/a%20b.so&pin-source=file:///run/pin&vendor=x&vendor=y",
    ))
    .unwrap();
    assert_eq!(machine.module, Some("/usr/lib/a b.so".into()));
    assert_eq!(machine.pin_file, Some("/run/pin".into()));
    for source in ["/run/pin", "file:/run/pin", "file:%2frun/pin"] {
        let (_uri, machine) = given(&uri(&format!("object=k?pin-source={source}"))).unwrap();
        assert_eq!(machine.pin_file, Some("/run/pin".into()));
    }
    assert_eq!(given(&uri("object=k")).unwrap().1, Machine::default());
}

#[test]
fn a_stored_uri_names_no_module_and_no_file() {
    for query in [
        "?",
        "?module-path=/evil.so",
        "?pin-source=/etc/shadow",
        "?x=y",
    ] {
        let error = KeyPath::stored(&uri(&format!("object=k{query}"))).unwrap_err();
        assert_eq!(error.kind(), KeyErrorKind::Config);
    }
}

#[test]
fn a_pin_in_the_uri_is_refused_and_not_repeated() {
    for rest in [
        "object=k?pin-value=hunter2",
        "object=k?module-path=/m&pin-value=hunter2",
        "object=k?pin-source=|hunter2",
        "object=k?pin-source=hunter2",
        "object=k?hunter2",
        "object=k;pin-value=hunter2",
        "object=k?module-path=/m&module-path=/m&pin-source=/hunter2",
    ] {
        let error = given(&uri(rest)).unwrap_err();
        assert_eq!(error.kind(), KeyErrorKind::Config);
        let whole = error.to_string();
        assert!(!error.message().contains("hunter2"), "{whole}");
        assert!(rest.contains(';') || !whole.contains("hunter2"), "{whole}");
    }
}

#[test]
fn what_the_rfc_or_this_program_does_not_allow_is_refused() {
    for rest in [
        "",
        ";",
        "token=t",
        "object=",
        "id=",
        "object=;id=",
        "object=k;",
        ";object=k",
        "object=k;;token=t",
        "object",
        "=k",
        "object=k;token",
        "object=k;Token=t",
        "object=k;colour=red",
        "object=k;x-colour=red",
        "object=k;object=k",
        "object=k;object=l",
        "object=k/l",
        "object=k%",
        "object=k%4",
        "object=k%zz",
        "object=k%00",
        "object=k%ff",
        "object=k#l",
        "object=k\"",
        "object=k<l>",
        "object=k|l",
        "object=k;type=public",
        "object=k;type=cert",
        "object=k;type=data",
        "object=k;type=",
        "object=k;type=Private",
        "object=k;slot-id=",
        "object=k;slot-id=x",
        "object=k;slot-id=-1",
        "object=k;slot-id=+1",
        "object=k;slot-id=99999999999999999999",
        "object=k;library-version=",
        "object=k;library-version=1.",
        "object=k;library-version=.1",
        "object=k;library-version=1.2.3",
        "object=k;library-version=256",
        "object=k?",
        "object=k?module-path",
        "object=k?module-path=",
        "object=k?module-path=m.so",
        "object=k?module-path=/m&",
        "object=k?module-path=/m&module-path=/m",
        "object=k?module-path=/m%00",
        "object=k?module-name=softhsm2",
        "object=k?pin-source=",
        "object=k?pin-source=pin",
        "object=k?pin-source=file:",
        "object=k?pin-source=file:pin",
        "object=k?pin-source=file://host/pin",
        "object=k?pin-source=http://host/pin",
        "object=k?pin-source=|/bin/pin",
        "object=k?pin-source=/a&pin-source=/a",
        "object=k?x=%",
        "object=k?x=a?b#c",
    ] {
        match given(&uri(rest)) {
            Ok(read) => panic!("{rest}: {read:?}"),
            Err(error) => assert_eq!(error.kind(), KeyErrorKind::Config, "{rest}"),
        }
    }
}
