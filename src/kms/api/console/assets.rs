//! Pages, styles and scripts: a part of the program, so that a browser needs no other host.

use hyper::header;

use super::ROOT;
use crate::kms::api::answer::Body;
use crate::kms::api::web::{UNKNOWN, WebAnswer, WebError, WebRequest};

/// What a page may do: load what this host serves, talk to it, and nothing else. No script or style stands in the page
/// itself, and no text becomes a script (Trusted Types).
const POLICY: &str = "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self'; connect-src 'self'; \
                      base-uri 'none'; form-action 'none'; frame-ancestors 'none'; require-trusted-types-for 'script'; \
                      trusted-types 'none'";

const HTML: &str = "text/html; charset=utf-8";
const SCRIPT: &str = "text/javascript; charset=utf-8";

/// The files by name.
macro_rules! assets {
    ($($kind:expr => $name:literal),* $(,)?) => {
        const ASSETS: &[(&str, &str, &[u8])] =
            &[$(($name, $kind, include_bytes!(concat!("assets/", $name))),)*];
    };
}

assets! {
    "text/css; charset=utf-8" => "style.css",
    "image/svg+xml" => "icon.svg",
    HTML => "index.html",
    SCRIPT => "api.js",
    SCRIPT => "app.js",
    SCRIPT => "calls.js",
    SCRIPT => "chart.js",
    SCRIPT => "create.js",
    SCRIPT => "dialogs.js",
    SCRIPT => "dom.js",
    SCRIPT => "key.js",
    SCRIPT => "keys.js",
    SCRIPT => "parts.js",
    SCRIPT => "people.js",
    SCRIPT => "sign-in.js",
    SCRIPT => "texts.js",
    SCRIPT => "texts-en.js",
    SCRIPT => "texts-zh.js",
}

/// The file of a path; `/console` is the page.
pub(super) fn answer(request_id: String, request: WebRequest<'_>) -> WebAnswer {
    if !matches!(request.method, "GET" | "HEAD") {
        let error = WebError::new(405, "MethodNotAllowed", "Only GET.");
        return WebAnswer::refusal(&error, UNKNOWN, request_id);
    }
    let rest = request.path.strip_prefix(ROOT).unwrap_or_default();
    let name = match rest.trim_start_matches('/') {
        "" => "index.html",
        name => name,
    };
    let found = ASSETS.iter().find(|(own, ..)| *own == name);
    let Some((_name, kind, bytes)) = found else {
        return WebAnswer::refusal(&WebError::no_such_path(), UNKNOWN, request_id);
    };
    let mut answer = WebAnswer::new("Page", request_id, Body::fixed(bytes));
    answer.answer.content_type = kind;
    answer
        .with(header::CONTENT_SECURITY_POLICY, POLICY)
        .with(header::X_CONTENT_TYPE_OPTIONS, "nosniff")
        .with(header::X_FRAME_OPTIONS, "DENY")
        .with(header::REFERRER_POLICY, "no-referrer")
}

#[cfg(test)]
mod tests {
    use hyper::HeaderMap;

    use super::*;

    fn text(name: &str) -> &'static str {
        let (_name, _kind, bytes) = ASSETS.iter().find(|(own, ..)| *own == name).unwrap();
        std::str::from_utf8(bytes).unwrap()
    }

    fn asked(method: &str, path: &str) -> WebAnswer {
        let headers = HeaderMap::new();
        let request = WebRequest {
            method,
            path,
            query: "",
            headers: &headers,
            body: b"",
        };
        answer("id".to_owned(), request)
    }

    #[test]
    fn every_file_has_the_policy_and_its_kind() {
        for (name, kind, bytes) in ASSETS {
            let answer = asked("GET", &format!("/console/{name}"));
            assert_eq!(answer.answer.status, 200);
            assert_eq!(answer.answer.content_type, *kind);
            assert_eq!(*answer.answer.body.0, *bytes);
            let policy = (header::CONTENT_SECURITY_POLICY, POLICY.parse().unwrap());
            assert!(answer.headers.contains(&policy));
        }
        assert_eq!(asked("GET", "/console").answer.content_type, HTML);
    }

    #[test]
    fn other_paths_and_methods_get_nothing() {
        for path in [
            "/console/x.js",
            "/console/../app.js",
            "/console/assets/app.js",
        ] {
            assert_eq!(asked("GET", path).answer.status, 404, "{path}");
        }
        assert_eq!(asked("POST", "/console").answer.status, 405);
    }

    /// The policy would refuse it; it is not to be tried.
    #[test]
    fn nothing_is_loaded_from_elsewhere_or_made_a_script() {
        for (name, _kind, _bytes) in ASSETS {
            let text = text(name).replace("http://www.w3.org/2000/svg", "");
            for not in [
                "http://",
                "https://",
                "innerHTML",
                "eval(",
                " style=\"",
                "onclick=",
            ] {
                assert!(!text.contains(not), "{name} has {not}");
            }
        }
    }

    /// The names of a language's texts, sorted.
    fn keys(name: &str) -> Vec<&'static str> {
        let lines = text(name)
            .lines()
            .filter_map(|line| line.strip_prefix("  "));
        let keys = lines.filter_map(|line| line.split_once(':'));
        let mut keys: Vec<_> = keys.map(|(key, _text)| key.trim_matches('\'')).collect();
        keys.sort_unstable();
        keys
    }

    /// Who reads Chinese is told why in Chinese, of calls of other clients too.
    #[test]
    fn every_refusal_of_the_engine_has_a_text() {
        let table = include_str!("../web/error.rs");
        let codes = table.lines().filter_map(|line| {
            let (_kind, told) = line
                .trim()
                .strip_prefix("ErrorKind::")?
                .split_once("=> (")?;
            told.split('"').nth(1)
        });
        let (codes, own): (Vec<_>, _) = (codes.collect(), keys("texts-en.js"));
        assert!(codes.len() > 30, "{codes:?}");
        for code in codes
            .into_iter()
            .chain(["TooLong", "Unreachable", "Unreadable"])
        {
            let key = format!("error.{code}");
            assert!(own.binary_search(&key.as_str()).is_ok(), "no {key}");
        }
    }

    #[test]
    fn both_languages_have_the_same_texts() {
        let english = keys("texts-en.js");
        assert!(english.len() > 100);
        assert_eq!(english, keys("texts-zh.js"));
        let mut once = english.clone();
        once.dedup();
        assert_eq!(once, english);
    }
}
