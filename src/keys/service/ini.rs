//! Profile files of clouds: `[section]`, `name = value`.

/// A file in its parts, which borrow its text: values may be secrets.
pub(crate) struct Ini<'a> {
    sections: Vec<(&'a str, Vec<(&'a str, &'a str)>)>,
}

impl<'a> Ini<'a> {
    /// Reads the text. A line that begins with `#` or `;` is a comment, one that begins with white
    /// space belongs to a nested setting, and both are passed over, as are lines of no known form.
    pub(crate) fn parse(text: &'a str) -> Self {
        let mut sections: Vec<(&str, Vec<_>)> = Vec::new();
        for line in text.lines() {
            if line.starts_with(['#', ';', ' ', '\t']) {
                continue;
            }
            if let Some(name) = section_name(line) {
                sections.push((name, Vec::new()));
            } else if let Some((name, value)) = line.split_once('=')
                && let Some((_section, settings)) = sections.last_mut()
            {
                settings.push((name.trim(), value.trim()));
            }
        }
        Self { sections }
    }

    /// Whether there is a section of this name.
    pub(crate) fn has(&self, section: &str) -> bool {
        self.sections.iter().any(|(name, _)| *name == section)
    }

    /// A setting; the last one counts where it stands several times. An empty one counts as not
    /// there.
    pub(crate) fn value(&self, section: &str, name: &str) -> Option<&'a str> {
        let named = self.sections.iter().filter(|(known, _)| *known == section);
        let settings = named.flat_map(|(_name, settings)| settings);
        let mut found = settings.filter(|(known, _value)| known.eq_ignore_ascii_case(name));
        let (_name, value) = found.next_back()?;
        Some(*value).filter(|value| !value.is_empty())
    }
}

/// The name in `[name]`.
fn section_name(line: &str) -> Option<&str> {
    let (name, after) = line.strip_prefix('[')?.split_once(']')?;
    let after = after.trim_start();
    (after.is_empty() || after.starts_with(['#', ';'])).then(|| name.trim())
}

#[cfg(test)]
mod tests {
    use super::*;

    const TEXT: &str = "\
stray = 1
[default]
# a comment
; another
aws_access_key_id=AKIA1
AWS_SECRET_ACCESS_KEY =  a/b+c==
region =
s3 =
    max_concurrent_requests = 20
    region = nested
[profile ada]  # here
region = eu-central-1\r
region = eu-west-1
no setting
[default]
output = json
";

    #[test]
    fn settings_are_found_in_their_section() {
        let ini = Ini::parse(TEXT);
        let default = |name| ini.value("default", name);
        assert_eq!(default("aws_access_key_id"), Some("AKIA1"));
        assert_eq!(default("aws_secret_access_key"), Some("a/b+c=="));
        assert_eq!(default("output"), Some("json"));
        assert_eq!(ini.value("profile ada", "region"), Some("eu-west-1"));
    }

    #[test]
    fn what_is_not_there_is_not_made_up() {
        let ini = Ini::parse(TEXT);
        assert_eq!(ini.value("default", "region"), None);
        assert_eq!(ini.value("default", "max_concurrent_requests"), None);
        assert_eq!(ini.value("default", "stray"), None);
        assert_eq!(ini.value("ada", "region"), None);
        assert!(ini.has("profile ada") && !ini.has("ada"));
        assert!(!Ini::parse("[x\n[y]z\n]w[\n").has("y"));
    }
}
